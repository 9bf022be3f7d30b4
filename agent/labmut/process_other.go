//go:build !unix

package lab

import (
	"errors"
	"os"
	"os/exec"
)

// The machines run real shell scripts, so a lab lives on Unix only; New says so here.

func makeFIFO(string) error {
	return errors.New("the lab needs a Unix system, because its machines run shell scripts; run it on Linux")
}

func ownGroup(*exec.Cmd)              {}
func killGroup(p *os.Process)         { _ = p.Kill() }
func signalGroup(*os.Process, string) {}
func killMarked(int, string)          {}
func killAllMarked(string)            {}
func marked(int, string) bool         { return false }
