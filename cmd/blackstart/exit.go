package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Exit codes, a contract for programs.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // usage or invalid input
	exitHeld    = 3 // held, or closed with exceptions
	exitRefused = 4 // not allowed
)

// outcome is an end that is no failure of the command but has an exit code of its own.
type outcome struct {
	exit    int
	message string
}

func (o *outcome) Error() string { return o.message }

// usageError is what the caller typed wrongly.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errInterrupted is what is told to whoever pressed Ctrl-C.
var errInterrupted = errors.New("interrupted")

// end returns what is told about an error, in one sentence, and the exit code that it stands for.
func end(err error) (message string, exit int) {
	if err == nil {
		return "", exitDone
	}
	var o *outcome
	if errors.As(err, &o) {
		return o.message, o.exit
	}
	return explain(err)
}

// explain turns an error into one sentence and an exit code.
func explain(err error) (message string, exit int) {
	var typed *usageError
	var core *recovery.Error
	var bad fleet.Errors
	switch {
	case errors.As(err, &typed), errors.As(err, &bad):
		return err.Error(), exitUsage
	case errors.As(err, &core):
		return err.Error(), coreExit(core.Kind)
	case errors.Is(err, journal.ErrLocked):
		return err.Error(), exitRefused
	case errors.Is(err, journal.ErrNoIncident):
		return err.Error(), exitUsage
	case errors.Is(err, context.Canceled):
		return errInterrupted.Error(), exitFailed
	}
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.Unknown {
		return err.Error(), exitFailed
	}
	return explainStatus(st)
}

// explainStatus tells what the coordinator, or the way to it, answered.
func explainStatus(st *status.Status) (message string, exit int) {
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound:
		return st.Message(), exitUsage
	case codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated, codes.AlreadyExists:
		return st.Message(), exitRefused
	case codes.Unavailable:
		return noWay(st.Message()), exitFailed
	case codes.DeadlineExceeded:
		return "the coordinator did not answer in time: try again, or look at its log", exitFailed
	case codes.Canceled:
		return errInterrupted.Error(), exitFailed
	case codes.Unimplemented:
		return "the coordinator does not know this call: it runs another version of blackstart than this one", exitFailed
	}
	return st.Message(), exitFailed
}

func coreExit(k recovery.ErrorKind) int {
	if k == recovery.KindRefused {
		return exitRefused
	}
	return exitUsage
}

// exists reports whether there is something at path, readable or not.
func exists(lstat func(string) (fs.FileInfo, error), path string) bool {
	_, err := lstat(path)
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}
