// Command blackstart is what responders run: the coordinator, and everything that they ask of it.
//
// Reading order: root.go (the tree of commands), exit.go (exit codes and errors), client.go (how a command reaches the
// coordinator), output.go (tables and JSON); then one file for each family of commands.
package main

import (
	"context"
	"fmt"
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
	message, exit := end(newRoot().ExecuteContext(ctx))
	if message != "" {
		fmt.Fprintln(os.Stderr, "blackstart: "+message)
	}
	return exit
}
