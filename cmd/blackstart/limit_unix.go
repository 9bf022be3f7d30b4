//go:build unix

package main

import (
	"runtime"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// filesPerHost is what one host may need at once: its agent's connection, an SSH connection, and room for a drill's machine.
const filesPerHost = 8

// raiseFileLimit raises the soft limit of open files to the hard one and says so when that is too low for the fleet.
func raiseFileLimit(log hclog.Logger, hosts int) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		log.Warn("the limit of open files could not be raised", "error", err)
	}
	if need := uint64(hosts*filesPerHost + 256); uint64(l.Cur) < need { //nolint:unconvert // the type differs between systems
		log.Warn("the limit of open files is low for this fleet: raise it with `ulimit -n`", "limit", l.Cur, "advised", need)
	}
}

// openFiles is how many files this process may have open.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(uint64(l.Cur), mostOpen)) //nolint:gosec,unconvert // bounded; the type differs between systems
}

// mostOpen bounds openFiles where the system sets no bound.
const mostOpen = 1 << 16

// maxRSS is the most memory that this process has held, in bytes.
func maxRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return heap()
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss
	}
	return u.Maxrss << 10
}
