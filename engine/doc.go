// Package engine leads the cluster: of all engines that run, the elected one
// follows the cluster's state, has the planner decide, and writes the
// decisions, fenced by its lead. Whatever goes wrong on the way, it forgets
// all and starts over from a snapshot; the stored state is the only memory.
//
// What is decided, and why, is engine/planner's business.
package engine
