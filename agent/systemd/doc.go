// Package systemd drives one systemd, the only one that fleet's units on this
// host belong to: it writes their files, starts and stops them, and says how
// they are, and what they logged before they failed. It is the only package that
// speaks D-Bus.
//
// It talks to systemd's private socket where it can, so that no dbus-daemon
// stands between: signals come unasked, and a restart of dbus goes unnoticed.
//
// Three rules keep it fast and harmless:
//
//   - systemd finds a file that it has never loaded without a daemon-reload.
//     One reload is done for a batch in which the text of a loaded unit changed.
//   - What systemd says is kept as the latest state of each watched unit, so that
//     a slow reader loses nothing but intermediate states, and nothing overflows.
//   - A unit that the host had before fleet came is the host's: see
//     [Client.Claim].
//
// What this package is not: it decides nothing. Which unit should run is the
// agent's business.
//
// go-systemd's connection is not used, though its helpers are: it spreads calls
// and signals over two sockets, so that a job's end can overtake its beginning,
// it holds a lock over every start, and it asks systemd once more for each
// JobRemoved.
package systemd
