package remedy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What is kept of a script's output on our side.
const (
	keepHead = 192 << 10
	keepTail = 64 << 10
)

// kept keeps the beginning and the end of what is written to it. It is safe for concurrent use, and never fails.
type kept struct {
	headMax, tailMax int

	mu         sync.Mutex
	head, tail []byte // tail holds up to twice its share between two cuts
	total      int64
}

func newKept(head, tail int) *kept { return &kept{headMax: head, tailMax: tail} }

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(p)
	k.total += int64(n)
	if room := k.headMax - len(k.head); room > 0 {
		room = min(room, len(p))
		k.head = append(k.head, p[:room]...)
		p = p[room:]
	}
	if len(p) > k.tailMax {
		p = p[len(p)-k.tailMax:]
	}
	if k.tail = append(k.tail, p...); len(k.tail) > 2*k.tailMax {
		k.tail = append(k.tail[:0], k.tail[len(k.tail)-k.tailMax:]...)
	}
	return n, nil
}

// last returns the last line that holds something, cleaned.
func (k *kept) last() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return lastWords(string(k.tail))
}

// reset forgets what was written.
func (k *kept) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.head, k.tail, k.total = nil, nil, 0
}

// bytes returns head and tail, with a line between that says how much was left out.
func (k *kept) bytes() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	tail := k.tail[max(0, len(k.tail)-k.tailMax):]
	out := bytes.Clone(k.head)
	if left := k.total - int64(len(k.head)) - int64(len(tail)); left > 0 {
		out = fmt.Appendf(out, "\n[blackstart: %d bytes left out]\n", left)
	}
	return append(out, tail...)
}

// keepOutput writes an attempt's output as it came, readable by us alone. It returns the file's name below the folder's
// parent, which is the data folder.
func keepOutput(dir, folder string, output []byte) (string, error) {
	name := folder + ".log"
	file, err := os.CreateTemp(dir, "."+name+".*") // 0600
	if err != nil {
		return "", fmt.Errorf("the output cannot be kept: %w", err)
	}
	_, err = file.Write(output)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("the output cannot be kept: %w", err)
	}
	return filepath.ToSlash(filepath.Join(filepath.Base(dir), name)), nil
}

// oneLine makes text from a host safe to show in one line.
func oneLine(text string, limit int) string { return recovery.Clean(text, limit) }
