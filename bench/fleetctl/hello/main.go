// Command hello is the least that a static program in Go does: the floor of every
// command's start.
package main

import "fmt"

func main() { fmt.Println("hello") }
