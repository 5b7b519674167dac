// Package unit knows systemd unit files: text in, typed values out.
//
// A File keeps the exact bytes it was parsed from, knows the line of every
// option, and is named by the SHA-256 of those bytes. Names are parsed into
// templates and instances. The [X-Fleet] section becomes Requirements, which
// the planner reads. States are the words that fleet and systemd use for what
// a unit should be and is.
//
// Parse reads exactly what systemd reads, and refuses what systemd would skip
// with a warning in a log on some host: a unit is refused where its author
// sees it. What is wrong with a unit is told as Problems, each with its line
// and a remedy.
//
// # Metadata rules
//
// MachineMetadata takes pairs: region=eu, disk!=hdd, ram>=2048, kernel<6.0.
// Pairs with "=" for the same key are alternatives; all else must hold. A
// machine without the key meets "!=" and nothing else. "=" and "!=" compare
// text. The operators < <= > >= order whole numbers as numbers and dotted ones
// as versions, part by part: 5.10 comes after 5.9. So write decimals with the
// same number of digits. A bound without a build (6.0) takes every build of
// that version (6.0-13-amd64) for the version itself; a pre-release (6.0-rc1)
// comes before it. A machine's value that is neither number nor version
// (large, 16GB) meets none of the four; in a unit file it is refused.
//
// The package is pure: no I/O, no clock, no logging.
package unit
