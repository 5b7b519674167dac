// Package unit knows systemd unit files: text in, typed values out.
//
// A File keeps the exact bytes it was parsed from, knows the line of every
// option, and is named by the SHA-256 of those bytes. Names are parsed into
// templates and instances. The [X-Fleet] section becomes Requirements, which
// the planner reads. States are the words that fleet and systemd use for what
// a unit should be and is.
//
// The package is pure: no I/O, no clock, no logging.
package unit
