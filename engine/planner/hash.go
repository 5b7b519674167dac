package planner

// hashOf gives a string's place on the ring that breaks ties: FNV-1a, with
// murmur's finish to spread names that differ in their last digit. It must
// never change and never depend on the process: equal inputs give equal plans
// everywhere.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h ^= uint64(s[i])
		h *= 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
