package restore

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// written counts the bytes that process pid has written. The kernel's count of the process is the only true one: restic claims the
// whole of a file before it writes the first block, so that the sizes below into say nothing.
func written(pid int, _ string) func() int64 { return func() int64 { return bytesOf(pid, "wchar: ") } }

// read counts the bytes that process pid has read from files, pipes and connections.
func read(pid int) func() int64 { return func() int64 { return bytesOf(pid, "rchar: ") } }

// stirred counts all that process pid has read and written.
func stirred(pid int) int64 { return bytesOf(pid, "wchar: ") + bytesOf(pid, "rchar: ") }

func bytesOf(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}
