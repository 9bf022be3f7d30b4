//go:build !linux && !windows

package agent

import "errors"

func bootID() (string, error) {
	return "", errors.New("this system tells none; the agent is made for Linux and Windows")
}

func bootMode() string { return "" }
