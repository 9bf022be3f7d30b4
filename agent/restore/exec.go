package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

// execBackend is any vendor's repository behind a program that keeps the contract of docs/backup-exec.md. The program is named by
// Repository.Program; what it says is held against the contract, and exit 0 alone is not believed.
type execBackend struct{}

// The contract, and what it bounds.
const (
	execContract = "blackstart-backup/1"
	execCannot   = 64 // exit status: the program does not know the verb
	execPoints   = 100_000
	maxPointID   = 200 // bytes
	maxWord      = 80  // bytes of what was checked
	maxWords     = 500 // bytes of a reason
	maxSignature = 60
)

// Signatures of programs that give no reason of their own.
const (
	signatureCannot     = "backup program cannot do that" // it does not know the verb
	signatureExecFailed = "backup program failed"
)

// execRequest is what the program reads on its standard input.
type execRequest struct {
	Contract   string         `json:"contract"`
	Verb       string         `json:"verb"`
	Repository execRepository `json:"repository"`
	Set        execSet        `json:"set"`
	Point      string         `json:"point,omitempty"`
	TakenAt    time.Time      `json:"taken_at,omitzero"`
	Moment     time.Time      `json:"moment,omitzero"`
	Into       string         `json:"into,omitempty"`
	Part       int            `json:"part,omitempty"`
	Parts      int            `json:"parts,omitempty"`
	Rate       int64          `json:"rate,omitempty"`
	Incident   string         `json:"incident,omitempty"`
	Release    bool           `json:"release,omitempty"`
}

type execRepository struct {
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Options  map[string]string `json:"options"`
}

type execSet struct {
	Name    string            `json:"name"`
	Host    string            `json:"host"`
	Kind    string            `json:"kind"`
	Source  string            `json:"source"`
	Options map[string]string `json:"options"`
}

// execAnswer is one line that the program prints. Each has one of the fields; a line with none of them is of a kind that is not known here.
type execAnswer struct {
	Point    *execPoint `json:"point"`
	Progress *struct {
		Done  int64 `json:"done"`
		Total int64 `json:"total"`
	} `json:"progress"`
	Checked string     `json:"checked"`
	Size    *int64     `json:"size"`
	Error   *execError `json:"error"`
	Done    bool       `json:"done"`
}

type execError struct {
	Class     string `json:"class"`
	Signature string `json:"signature"`
	Detail    string `json:"detail"`
}

type execPoint struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	TakenAt time.Time `json:"taken_at"`
	Until   time.Time `json:"until"`
	Size    int64     `json:"size"`
}

// List asks the program for all points.
func (execBackend) List(ctx context.Context, s SetWork) ([]Point, error) {
	var points []Point
	seen := map[string]bool{}
	err := execCall(ctx, "list", s, "", func(a execAnswer) error {
		if a.Point == nil {
			return nil
		}
		p, err := a.Point.read(s.Set.Kind)
		switch {
		case err != nil:
			return err
		case seen[p.ID]:
			return fmt.Errorf("it lists the point %q twice", p.ID)
		case len(points) == execPoints:
			return fmt.Errorf("it lists more than %d points", execPoints)
		}
		seen[p.ID] = true
		points = append(points, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(points, func(a, b Point) int { return a.TakenAt.Compare(b.TakenAt) })
	return points, nil
}

// Restore lets the program write the point into the folder, and wants to see something there.
func (execBackend) Restore(ctx context.Context, s SetWork, into string, p Progress) error {
	if err := mustBeEmpty(into); err != nil {
		return err
	}
	if err := execCall(ctx, "restore", s, into, execProgress(p)); err != nil {
		return err
	}
	if entries, err := os.ReadDir(into); err != nil || len(entries) == 0 {
		return &Fault{Failed, "nothing was restored", fmt.Sprintf("%s says that it is done, and wrote nothing into the folder that it was given; try it by hand.", s.Repository.Program)}
	}
	return nil
}

// Check lets the program check the repository, and wants it to say what it checked.
func (execBackend) Check(ctx context.Context, s SetWork, p Progress) (string, error) {
	var by string
	progress := execProgress(p)
	err := execCall(ctx, "check", s, "", func(a execAnswer) error {
		if a.Checked != "" {
			by = cut(clean(a.Checked, maxSaid), maxWord)
		}
		return progress(a)
	})
	switch {
	case err != nil:
		return "", err
	case by == "":
		return "", &Fault{Failed, "nothing was checked", fmt.Sprintf("%s says that it is done, and not what it checked; a line with \"checked\" is wanted.", s.Repository.Program)}
	}
	return by, nil
}

// Hold lets the program keep the point from expiring, or no longer.
func (execBackend) Hold(ctx context.Context, s SetWork) error {
	return execCall(ctx, "hold", s, "", func(execAnswer) error { return nil })
}

// Size asks the program how much a restore writes; 0 where it cannot tell.
func (execBackend) Size(ctx context.Context, s SetWork) (int64, error) {
	var size int64
	err := execCall(ctx, "size", s, "", func(a execAnswer) error {
		if a.Size != nil {
			size = max(0, *a.Size)
		}
		return nil
	})
	if fault := (*Fault)(nil); errors.As(err, &fault) && fault.Signature == signatureCannot {
		return 0, nil
	}
	return size, err
}

// execProgress tells what the program says of its progress: never less than before, and never more than there is.
func execProgress(p Progress) func(execAnswer) error {
	var before int64
	return func(a execAnswer) error {
		if a.Progress == nil || p == nil {
			return nil
		}
		done, total := max(before, a.Progress.Done), max(0, a.Progress.Total)
		if total > 0 {
			done = min(done, total)
		}
		before = max(before, done)
		p(done, total)
		return nil
	}
}

// read holds a point that the program lists against what the catalog can keep.
func (p *execPoint) read(kind string) (Point, error) {
	if p.Kind == "" {
		p.Kind = kind
	}
	switch {
	case p.ID == "" || len(p.ID) > maxPointID || strings.ContainsFunc(p.ID, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Point{}, fmt.Errorf("the point %q has no id of 1 to %d printable bytes", cut(p.ID, maxWord), maxPointID)
	case p.Kind != kind:
		return Point{}, fmt.Errorf("the point %q is of kind %q, and the data set of kind %q", p.ID, cut(p.Kind, maxWord), kind)
	case p.TakenAt.IsZero():
		return Point{}, fmt.Errorf("the point %q has no taken_at", p.ID)
	case !p.Until.IsZero() && p.Until.Before(p.TakenAt):
		return Point{}, fmt.Errorf("the point %q reaches until before it was taken", p.ID)
	case p.Size < 0:
		return Point{}, fmt.Errorf("the point %q has a size below zero", p.ID)
	}
	return Point{ID: p.ID, Kind: p.Kind, TakenAt: p.TakenAt.UTC(), Until: utc(p.Until), Size: p.Size}, nil
}

// utc leaves no time as it is.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// execWhat is what a verb does, in words.
var execWhat = map[string]string{"list": "listing of restore points", "restore": "restore", "check": "check of the repository", "hold": "hold", "size": "asking for the size"}

// execCall runs the program for one verb and tells told each line of its answer. A line that breaks the contract, or that told refuses,
// ends the program at once. It is nil only if the program ended with exit 0 right after saying that it is done.
func execCall(ctx context.Context, verb string, s SetWork, into string, told func(execAnswer) error) error {
	program := s.Repository.Program
	if !filepath.IsAbs(program) {
		return &Fault{Failed, "no backup program", fmt.Sprintf("Repository %q of kind exec names %q as its program; name one by its absolute path.", s.Repository.Name, program)}
	}
	secret, env, err := execSecret(s.Repository)
	if err != nil {
		return faultOf(ctx, execWhat[verb], err)
	}
	input, err := json.Marshal(requestOf(verb, s, into))
	if err != nil {
		return faultOf(ctx, execWhat[verb], err)
	}
	veil := func(text string) string {
		if secret == "" {
			return text
		}
		return strings.ReplaceAll(text, secret, "[secret]")
	}
	broken := func(why string) error {
		return &Fault{Failed, "backup program not understood", sentence(fmt.Sprintf("%s broke its contract at %s: %s; try it by hand", program, verb, veil(why)))}
	}

	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var done bool
	var said error // what the program itself gives as the reason
	hear := func(line string) {
		if running.Err() != nil || strings.TrimSpace(line) == "" {
			return
		}
		var a execAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			stop(broken(fmt.Sprintf("this line is no answer: %q", cut(clean(line, maxSaid), 200))))
			return
		}
		if a.Error != nil && said == nil {
			said = a.Error.fault(program, verb, veil)
		}
		if a.Done || a.known() {
			done = a.Done
		}
		if err := told(a); err != nil {
			stop(broken(err.Error()))
		}
	}
	e, err := command{path: program, args: []string{verb}, env: env, dir: filepath.Dir(program), in: input, line: hear}.run(running)
	last := ""
	if e.said != "" {
		last = "; its last words are: " + veil(e.said)
	}
	failed := func(signature, what string) error {
		return &Fault{Failed, signature, sentence(fmt.Sprintf("%s %s at %s%s", program, what, verb, last))}
	}
	switch {
	case ctx.Err() != nil:
		return faultOf(ctx, execWhat[verb], ctx.Err())
	case running.Err() != nil:
		return context.Cause(running)
	case err != nil:
		return faultOf(ctx, execWhat[verb], err)
	case said != nil:
		return said
	case e.exit == execCannot:
		return failed(signatureCannot, "does not know what to do")
	case e.signal != "":
		return failed("backup program killed", "was ended by a signal ("+e.signal+")")
	case e.exit != 0:
		return failed(signatureExecFailed, fmt.Sprintf("ended with exit status %d", e.exit))
	case !done:
		return failed("backup program ended early", "ended with exit status 0 and did not say that it is done")
	}
	return nil
}

// known says whether an answer is of a kind that the contract has, apart from done.
func (a execAnswer) known() bool {
	return a.Point != nil || a.Progress != nil || a.Checked != "" || a.Size != nil || a.Error != nil
}

func requestOf(verb string, s SetWork, into string) execRequest {
	r := execRequest{
		Contract:   execContract,
		Verb:       verb,
		Repository: execRepository{s.Repository.Name, s.Repository.Location, options(s.Repository.Options)},
		Set:        execSet{s.Set.Name, s.Set.Host, s.Set.Kind, s.Set.Source, options(s.Set.Options)},
	}
	if verb != "list" {
		r.Rate = s.Rate
	}
	switch verb {
	case "restore", "size":
		r.Point, r.TakenAt, r.Moment, r.Into = s.Point, utc(s.TakenAt), utc(s.Moment), into
	case "check":
		r.Point, r.TakenAt, r.Part, r.Parts = s.Point, utc(s.TakenAt), s.Part, s.Parts
	case "hold":
		r.Point, r.TakenAt, r.Incident, r.Release = s.Point, utc(s.TakenAt), s.Hold, s.Release
	}
	return r
}

// options is never null, so that a program need not ask.
func options(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// execSecret is the repository's password, to keep it out of what is told, and the variable that names it to the program.
func execSecret(r Repository) (secret string, env []string, err error) {
	file, value, err := r.password()
	switch {
	case err != nil:
		return "", nil, err
	case file != "":
		text, err := os.ReadFile(file)
		return strings.TrimSpace(string(text)), []string{"BLACKSTART_BACKUP_PASSWORD_FILE=" + file}, err
	case value != "":
		return value, []string{"BLACKSTART_BACKUP_PASSWORD=" + value}, nil
	}
	return "", nil, nil
}

// fault is what the program gives as its reason, in a class that a program may say.
func (e *execError) fault(program, verb string, veil func(string) string) *Fault {
	class := Failed
	switch e.Class {
	case Unreachable, AuthRefused, TimedOut:
		class = e.Class
	}
	detail := cut(veil(clean(e.Detail, maxLine)), maxWords)
	if detail == "" {
		detail = "it gives no reason"
	}
	return &Fault{class, execSignature(veil(e.Signature)), sentence(fmt.Sprintf("%s failed at %s: %s", program, verb, detail))}
}

// execSignature takes the words of a signature, and leaves out what would keep it from grouping.
func execSignature(text string) string {
	text = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(" ,-", r) {
			return r
		}
		return -1
	}, text)
	text = strings.Trim(strings.Join(strings.Fields(text[:min(len(text), maxSignature)]), " "), " ,-")
	if len(text) < 3 {
		return signatureExecFailed
	}
	return text
}

// cut keeps the beginning of a text.
func cut(text string, limit int) string {
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
