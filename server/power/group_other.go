//go:build !unix

package power

import "os/exec"

// inOwnGroup does nothing: there are no process groups here, and the context kills the program itself.
func inOwnGroup(*exec.Cmd) {}

// killGroup does nothing.
func killGroup(*exec.Cmd) {}
