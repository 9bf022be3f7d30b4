// Command blackstart is what responders run: the coordinator, and everything that they ask of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(end(err))
}

// end tells an error in one sentence and returns the exit code that it stands for.
func end(err error) int {
	if err == nil {
		return exitDone
	}
	var o *outcome
	if errors.As(err, &o) {
		if o.message != "" {
			fmt.Fprintln(os.Stderr, "blackstart: "+o.message)
		}
		return o.exit
	}
	err, exit := explain(err)
	fmt.Fprintln(os.Stderr, "blackstart: "+err.Error())
	return exit
}
