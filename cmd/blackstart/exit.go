package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/blackstart-recovery/blackstart/server/fleet"
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

// explain turns an error into one sentence and an exit code.
func explain(err error) (error, int) {
	var typed *usageError
	var core *recovery.Error
	var bad fleet.Errors
	switch {
	case errors.As(err, &typed), errors.As(err, &bad):
		return err, exitUsage
	case errors.As(err, &core):
		return err, coreExit(core.Kind)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted"), exitFailed
	}
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.Unknown {
		return err, exitFailed
	}
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound:
		return errors.New(st.Message()), exitUsage
	case codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated, codes.AlreadyExists:
		return errors.New(st.Message()), exitRefused
	case codes.Unavailable:
		return fmt.Errorf("the coordinator cannot be reached: %s: is `blackstart serve` running there, and is --coordinator right?", st.Message()), exitFailed
	case codes.DeadlineExceeded:
		return errors.New("the coordinator did not answer in time: try again, or look at its log"), exitFailed
	}
	return errors.New(st.Message()), exitFailed
}

func coreExit(k recovery.ErrorKind) int {
	if k == recovery.KindRefused {
		return exitRefused
	}
	return exitUsage
}
