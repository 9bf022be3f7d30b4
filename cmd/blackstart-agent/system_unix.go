//go:build unix

package main

import (
	"errors"
	"syscall"
)

// noWait keeps an open from hanging on a pipe.
const noWait = syscall.O_NONBLOCK

func serve(settings) error {
	return errors.New("service is for Windows; here systemd runs the program, see blackstart-agent.service")
}

func (s settings) systemRoot() string {
	if s.root != "" {
		return s.root
	}
	return "/"
}
