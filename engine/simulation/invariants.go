package simulation

// invariant is a promise that the judge holds the world against.
type invariant string

const (
	neverTwo          invariant = "never two instances"
	neverTwoIsolated  invariant = "Isolation=stop is never twice"
	noneLost          invariant = "none lost"
	noMoveWithout     invariant = "no restart or move without a cause"
	converges         invariant = "converges"
	truthTold         invariant = "the truth is told"
	metadataHolds     invariant = "metadata holds"
	machineOfHolds    invariant = "MachineOf holds"
	conflictsHold     invariant = "Conflicts holds"
	onlyLeader        invariant = "only the leader schedules"
	missingHaveTime   invariant = "the missing have agent_ttl"
	idleWritesNothing invariant = "an idle cluster writes nothing"
	netFindsNothing   invariant = "the safety net finds nothing"
)

// invariants are all of them.
var invariants = []invariant{
	neverTwo, neverTwoIsolated, noneLost, noMoveWithout, converges, truthTold, metadataHolds, machineOfHolds, conflictsHold,
	onlyLeader, missingHaveTime, idleWritesNothing, netFindsNothing,
}

// judged is the count of how often something was that could have broken the promise.
func (i invariant) judged() string { return "judged: " + string(i) }

// judges counts that an invariant is judged.
func (j *judge) judges(i invariant) {
	if !j.quiet {
		j.w.count(i.judged())
	}
}
