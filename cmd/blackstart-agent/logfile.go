package main

import (
	"errors"
	"os"
	"sync"
)

// maxLog is the size in bytes at which a log file is put aside as NAME.1, in place of the one before.
const maxLog = 1 << 20

// logFile is a log of bounded size.
type logFile struct {
	mu   sync.Mutex
	name string
	f    *os.File
	size int64
}

func openLog(name string) (*logFile, error) {
	l := &logFile{name: name}
	err := l.open()
	return l, err
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends p whole.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || l.size > 0 && l.size+int64(len(p)) > maxLog {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) turn() error {
	if l.f != nil {
		_ = l.f.Close() // each line was written already
		l.f = nil
		if err := os.Rename(l.name, l.name+".1"); err != nil {
			return err
		}
	}
	return l.open()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
