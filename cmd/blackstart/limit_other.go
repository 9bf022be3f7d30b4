//go:build !unix

package main

import "github.com/hashicorp/go-hclog"

// raiseFileLimit has nothing to do where there is no such limit.
func raiseFileLimit(hclog.Logger, int) {}

// openFiles is how many connections this process should have open at once, where there is no such limit.
func openFiles() int { return 1 << 13 }

// maxRSS is the most memory that this process has held, in bytes.
func maxRSS() int64 { return heap() }
