// Command blackstart is what responders run: the coordinator, and everything that they ask of it.
//
// Reading order: root.go (the tree of commands), exit.go (exit codes and errors), client.go (how a command reaches the
// coordinator), output.go (tables and JSON); then one file for each family of commands.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is the whole program: it returns the exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	root, out := newRoot(), &output{File: os.Stdout}
	root.SetOut(out)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.failed
	}
	message, exit := end(err)
	if message != "" {
		fmt.Fprintln(os.Stderr, "blackstart: "+message)
	}
	return exit
}

// output is standard output that remembers its first failure, so that no report is lost in silence.
type output struct {
	*os.File
	failed error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if err != nil && o.failed == nil {
		o.failed = fmt.Errorf("what was to be told could not be written: %w", err)
	}
	return n, err
}

func (o *output) WriteString(s string) (int, error) { return o.Write([]byte(s)) }

// asFile is the file behind a command's output, if it is one.
func asFile(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*output); ok {
		return o.File, true
	}
	f, ok := w.(*os.File)
	return f, ok
}
