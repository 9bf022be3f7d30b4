package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Signatures that backends share. The worker acts on none of them; they group the like of several hosts.
const (
	signatureGone     = "restore point gone"
	signaturePassword = "repository password refused"
	signatureLocked   = "repository locked"
	signatureAway     = "repository unreachable"
	signatureFull     = "no space left"
	signatureNotEmpty = "restore folder not empty"
	signatureLetGo    = "stopped before it was done"
	signatureTimedOut = "time is up"
)

// gone says that the repository no longer lists the point.
func gone(s SetWork) *Fault {
	return &Fault{Failed, signatureGone, fmt.Sprintf(
		"Repository %q has no point %.20q of %q any more; list its points again and choose another.", s.Repository.Name, s.Point, s.Set.Name)}
}

// faultOf makes any error a Fault. Once ctx is over, that is the reason, whatever else was said.
func faultOf(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Fault{TimedOut, signatureTimedOut, "The time for " + what + " is up; nothing was swapped."}
	} else if ctx.Err() != nil {
		return &Fault{Cancelled, signatureLetGo, "The " + what + " was stopped before it was done; nothing was swapped."}
	}
	var fault *Fault
	if errors.As(err, &fault) {
		return fault
	}
	return &Fault{Failed, what + " failed", sentence("The " + what + " failed: " + err.Error())}
}

// sentence ends foreign text like one.
func sentence(text string) string { return strings.TrimRight(clean(text, maxSaid), " .;:") + "." }

// mustBeEmpty refuses to restore into a folder that is not there or holds anything.
func mustBeEmpty(into string) error {
	entries, err := os.ReadDir(into)
	if err != nil {
		return &Fault{Failed, "restore folder cannot be read", sentence("The folder to restore into cannot be read: " + err.Error())}
	}
	if len(entries) > 0 {
		return &Fault{Failed, signatureNotEmpty, sentence(fmt.Sprintf(
			"The folder to restore into, %s, is not empty; nothing was written, so move away what is there", into))}
	}
	return nil
}

// password tells where the repository's password is: in a file, or in a variable of this process, whose value it returns. Without a
// password both are empty.
func (r Repository) password() (file, value string, err error) {
	kind, name, _ := strings.Cut(r.Password, ":")
	missing := func(how string) error {
		return &Fault{AuthRefused, "repository password missing", sentence(fmt.Sprintf(
			"The password of repository %q %s; put it there for the agent's user", r.Name, how))}
	}
	switch {
	case r.Password == "":
		return "", "", nil
	case kind == "file" && name != "":
		f, err := os.Open(name)
		if err != nil {
			return "", "", missing("cannot be read: " + err.Error())
		}
		return name, "", f.Close()
	case kind == "env" && name != "":
		if value = os.Getenv(name); value == "" {
			return "", "", missing("is to be in the agent's environment as " + name + ", which is not set")
		}
		return "", value, nil
	default:
		return "", "", missing("is neither \"file:PATH\" nor \"env:NAME\"")
	}
}
