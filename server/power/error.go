package power

import "github.com/blackstart-recovery/blackstart/server/recovery"

// Error says why a control could not do what was asked. Neither field holds a secret.
type Error struct {
	Class     recovery.Class // AuthRefused, Unreachable, TimedOut, Failed; Lost when the caller's context was cancelled in mid-act
	Signature string         // a few words that group like failures; never a host's name
	Detail    string         // one sentence: what, where, what to do

	tired bool // the program did its part and tired of waiting for the change
}

// Error returns the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Signature
	}
	return e.Detail
}
