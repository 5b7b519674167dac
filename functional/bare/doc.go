// Package bare tests how bare hosts become a cluster, to the letter: hosts on
// which nothing but the package is installed boot with one file, find each other by one
// URL, and are a fleet cluster. It holds tests only.
package bare
