// Package planner decides which machine runs which unit. It is pure: no clock,
// no I/O, no goroutine, no logging. The cluster's changes go in, decisions come
// out, and the caller writes them; the same inputs give the same decisions in
// every process.
package planner
