package recovery

import "fmt"

// ErrorKind says what a refused input means for who sent it.
type ErrorKind string

// The error kinds.
const (
	KindInvalid  ErrorKind = "invalid"   // the input makes no sense
	KindNotFound ErrorKind = "not-found" // it names something that does not exist
	KindRefused  ErrorKind = "refused"   // it makes sense and is not allowed now
)

// Error is why an input was not accepted: one sentence that says what, where and what to do.
type Error struct {
	Kind    ErrorKind
	Message string
}

func (e *Error) Error() string { return e.Message }

func invalid(format string, args ...any) error {
	return &Error{KindInvalid, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &Error{KindNotFound, fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &Error{KindRefused, fmt.Sprintf(format, args...)}
}
