// Package apply makes a cloudinit.Result true, on the running host or in the
// root of an image that doesn't run.
//
// It plans before it acts. The plan is made on a picture of the root in memory
// (tree): every part of a config (accounts, files, units and their links) only
// changes the picture, which sees what is there and what was put before. What
// differs from the disk in the end is the list of changes. So a config that
// can't be applied is refused before anything is touched, --diff is the plan
// itself, and a second run finds no difference.
//
// Each change is atomic: a file, a directory or a link is made under another
// name beside its place and renamed. Nothing is remembered between runs: a run
// that was cut off is completed by planning anew, and what it left under other
// names is removed. Only what the running systemd must still be told (that units
// changed) is noted below /run until it has been.
//
// Nothing leaves the root. Paths are walked one part at a time from the root's
// own descriptor, without the kernel ever following a link; links are resolved
// here, as a process with this root would. openat2 would do the latter, but not
// tell whose link it was, and older kernels lack it; os.Root refuses absolute
// links, which images are full of. A link that neither root nor this process's
// user owns isn't followed: its owner could send root's writes anywhere.
//
// What this package is not: it understands no format but Ignition's config (see
// package cloudinit), and knows systemd only as a small interface, Manager.
package apply
