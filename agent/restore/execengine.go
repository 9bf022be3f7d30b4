package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// execEngine checks what was restored by programs of the fleet file: L3 is Set.Check, and invariants are commands. Folders and images have
// it as soon as they have a check; there is no L4 without an L3.
type execEngine struct{}

// Prepare has nothing to do: what was restored is as it was.
func (execEngine) Prepare(context.Context, SetWork, string) (time.Time, error) {
	return time.Time{}, nil
}

// Check runs Set.Check, and then the invariants.
func (execEngine) Check(ctx context.Context, s SetWork, dir string, level int) ([]Check, error) {
	if level < 3 {
		return nil, nil
	}
	if len(s.Set.Check) == 0 {
		return nil, &Fault{Failed, signatureUnchecked, fmt.Sprintf("Data set %q has the engine exec and no check; write the program that checks it as its check.", s.Set.Name)}
	}
	c, err := commandCheck(ctx, s, dir)
	if err != nil {
		return nil, err
	}
	return invariants(ctx, s, dir, level, []Check{c}, commandInvariant)
}

// Signatures of checks that could not be made. They say nothing about the point.
const (
	signatureUnchecked = "nothing to check with"
	signatureNoAnswer  = "check cannot be made"
)

// invariants adds to checks those of the invariants, if level wants them and all went well so far, up to the first that does not hold.
func invariants(ctx context.Context, s SetWork, dir string, level int, checks []Check,
	made func(context.Context, SetWork, string, Invariant) (Check, error),
) ([]Check, error) {
	if level < 4 || !checks[len(checks)-1].OK {
		return checks, nil
	}
	for _, inv := range s.Set.Invariants {
		c, err := made(ctx, s, dir, inv)
		if err != nil {
			return checks, err
		}
		checks = append(checks, c)
		if !c.OK {
			break
		}
	}
	return checks, nil
}

// commandCheck is L3 by Set.Check: exit 0 is good, and the last words of any other exit say what is wrong.
func commandCheck(ctx context.Context, s SetWork, dir string) (Check, error) {
	said, err := runCheck(ctx, s, dir, s.Set.Check)
	if err != nil {
		return Check{}, err
	}
	return checkOf(s, 3, "check by "+filepath.Base(s.Set.Check[0]), said.good, said.last), nil
}

// commandInvariant is L4 by an invariant's command: the first line of its output, split at blanks, is the answer. It serves every engine.
func commandInvariant(ctx context.Context, s SetWork, dir string, inv Invariant) (Check, error) {
	if len(inv.Command) == 0 {
		return Check{}, &Fault{Failed, signatureUnchecked, fmt.Sprintf("Invariant %q of data set %q has no command, and SQL wants a database engine; write a program as its command.", inv.Name, s.Set.Name)}
	}
	said, err := runCheck(ctx, s, dir, inv.Command)
	switch {
	case err != nil:
		return Check{}, err
	case !said.good:
		return checkOf(s, 4, "invariant "+inv.Name, false, said.last), nil
	}
	return answered(s, inv, strings.Fields(said.first))
}

// answered holds an invariant's answer against what it expects.
func answered(s SetWork, inv Invariant, columns []string) (Check, error) {
	ok, detail, err := expect(inv.Expect, columns, momentOf(s))
	if err != nil {
		return Check{}, &Fault{Failed, signatureNoAnswer, sentence(fmt.Sprintf("Invariant %q of data set %q: %v", inv.Name, s.Set.Name, err))}
	}
	return checkOf(s, 4, "invariant "+inv.Name, ok, detail), nil
}

func checkOf(s SetWork, level int, by string, ok bool, detail string) Check {
	return Check{Level: level, OK: ok, At: time.Now().UTC(), By: by, Detail: detail, Moment: s.Moment}
}

// momentOf is whose data was restored.
func momentOf(s SetWork) time.Time {
	if s.Moment.IsZero() {
		return s.TakenAt
	}
	return s.Moment
}

// Exit statuses with which shells say that a program cannot be run or is not there.
const (
	exitNotRun   = 126
	exitNotFound = 127
)

// judgement is what a program of the fleet file says of what was restored.
type judgement struct {
	good  bool
	first string // line of its output
	last  string // its last words, after the exit status of a bad one
}

// runCheck runs a program of the fleet file on what was restored. An error says that it did not come to a judgement.
func runCheck(ctx context.Context, s SetWork, dir string, argv []string) (judgement, error) {
	var said judgement
	c := command{
		path: argv[0], args: argv[1:], dir: folderOf(dir),
		env: []string{
			"BLACKSTART_RESTORED=" + dir, "BLACKSTART_DATA_SET=" + s.Set.Name, "BLACKSTART_HOST=" + s.Set.Host,
			"BLACKSTART_POINT=" + s.Point, "BLACKSTART_MOMENT=" + momentOf(s).UTC().Format(time.RFC3339),
		},
		line: func(line string) {
			if line = clean(line, maxSaid); line == "" {
				return
			}
			if said.last = line; said.first == "" {
				said.first = line
			}
		},
	}
	e, err := c.run(ctx)
	what := fmt.Sprintf("check of data set %q by %s", s.Set.Name, filepath.Base(argv[0]))
	cannot := func(why string) (judgement, error) {
		return judgement{}, &Fault{Failed, signatureNoAnswer, sentence(fmt.Sprintf("The %s cannot be made: %s", what, why))}
	}
	if e.exit != 0 && e.said != "" {
		said.last = e.said
	}
	said.last = clean(said.last, maxAnswer)
	switch status := fmt.Sprintf("exit status %d", e.exit); {
	case err != nil:
		return judgement{}, faultOf(ctx, what, err)
	case e.signal != "":
		return cannot("it was ended by a signal (" + e.signal + ")")
	case e.exit == exitNotRun, e.exit == exitNotFound:
		return cannot(status + ": " + said.last)
	case said.last == "":
		said.last = status
	case e.exit != 0:
		said.last = status + ": " + said.last
	}
	said.good = e.exit == 0
	return said, nil
}

// folderOf is the folder of what was restored, which may be a single file.
func folderOf(dir string) string {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return filepath.Dir(dir)
	}
	return dir
}
