//go:build unix

package health

import (
	"os"
	"syscall"
)

// A pipe or device that took a file's place must not make the open hang.
const (
	openFile = os.O_RDONLY | syscall.O_NONBLOCK
	openDir  = os.O_RDONLY | syscall.O_NONBLOCK
)
