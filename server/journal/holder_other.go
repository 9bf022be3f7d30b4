//go:build !linux

package journal

// holder returns the process that holds the lock on a file; only Linux tells.
func holder(string) int { return 0 }
