package restore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// written counts the bytes that the program with mark in its environment has written. The kernel's count of the process is the only
// true one: restic claims the whole of a file before it writes the first block, so that the sizes below into say nothing.
func written(mark, _ string) func() int64 { return counter(mark, "wchar") }

// read counts the bytes that the program with mark in its environment has read from files and pipes.
func read(mark string) func() int64 { return counter(mark, "rchar") }

func counter(mark, field string) func() int64 {
	var pid string
	return func() int64 {
		if pid == "" {
			pid = childWith(mark)
		}
		text, err := os.ReadFile("/proc/" + pid + "/io")
		if pid == "" || err != nil {
			return 0
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, field+": "); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				return n
			}
		}
		return 0
	}
}

// childWith finds the process with mark in its environment that leads a group, as every program of ours does.
func childWith(mark string) string {
	processes, _ := filepath.Glob("/proc/[0-9]*/environ")
	ours := fmt.Sprintf(" %d ", os.Getpid())
	for _, path := range processes {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, []byte(mark+"\x00")) && !bytes.HasSuffix(env, []byte(mark)) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if _, after, ok := bytes.Cut(stat, []byte(") ")); err == nil && ok && len(after) > 2 && bytes.HasPrefix(after[1:], []byte(ours)) {
			return filepath.Base(filepath.Dir(path))
		}
	}
	return ""
}
