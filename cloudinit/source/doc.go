// Package source finds what a host is given to boot with, its user-data and
// metadata, in the places where clouds, hypervisors, installers and people put
// it: files, URLs, drives, the kernel's command line, metadata services.
//
// It reads them and understands no config: that is package cloudinit's work.
// What user-data says may be a secret, and so may be the address at which it is:
// neither gets into messages.
package source
