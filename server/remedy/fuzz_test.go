package remedy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// tidy reports whether text from a host may be shown in one line and is not too long.
func tidy(text string, most int) bool {
	return recovery.Clean(text, most) == text && utf8.RuneCountInString(text) <= most
}

// claims tells the rule of the result line again: its last one in the output begins the line, and says that the host is repaired.
func claims(output string) bool {
	repaired := false
	for _, line := range strings.Split(output, "\n") {
		rest, ok := strings.CutPrefix(line, "BLACKSTART-RESULT ")
		if !ok {
			continue
		}
		repaired = false
		for _, word := range strings.Fields(recovery.Clean("BLACKSTART-RESULT "+rest, 512)) {
			if value, ok := strings.CutPrefix(word, "outcome="); ok {
				repaired = value == "repaired"
				break
			}
		}
	}
	return repaired
}

// named is what the fleet file lets a host be called, and its address.
var named = regexp.MustCompile(`^[A-Za-z0-9._:-]*$`)

// FuzzResultLine lets a script say anything. Only exit 0 together with its own result line is a claim, every other end has a
// signature, and all that people will read is clean and short.
func FuzzResultLine(f *testing.F) {
	for _, output := range []string{
		"", "\n", "BLACKSTART-RESULT outcome=repaired", "BLACKSTART-RESULT outcome=repaired removed=1\nwarning: late words on stderr\n",
		"scanning\r\nBLACKSTART-RESULT outcome=repaired\r\n", "BLACKSTART-RESULT outcome=nothing-found\nBLACKSTART-RESULT outcome=repaired\n",
		"BLACKSTART-RESULT outcome=repaired\nBLACKSTART-RESULT outcome=failed\n", "echo x BLACKSTART-RESULT outcome=repaired", " BLACKSTART-RESULT outcome=repaired",
		"BLACKSTART-RESULT\toutcome=repaired", "BLACKSTART-RESULT outcome=failed outcome=repaired", "BLACKSTART-RESULT outcome=repaired\x1b[2Kfailed",
		"BLACKSTART-RESULT out\x00come=repaired", "BLACKSTART-RESULT outcome=\u202erepaired\u202c", "BLACKSTART-RESULT x\x1b]0;outcome=repaired\a", "BLACKSTART-RESULT outcome=repaired\x1b]0;",
		"BLACKSTART-RESULT " + strings.Repeat("x", 600) + " outcome=repaired", "rm: cannot remove '/opt/x': No space left on device\n", "h1.example at 192.0.2.7: PERMISSION DENIED",
		"fe80::1 failed after 0x7fffdeadbeef 12345678-1234\n", "\xff\xfe\x1b[31m", strings.Repeat("word ", 3000), strings.Repeat("é", 9<<10), "[blackstart: 12 bytes left out]\nBLACKSTART-RESULT outcome=repaired",
	} {
		for _, exit := range []int{0, 1, 10, 11} {
			f.Add(exit, false, "h1.example", output)
		}
		f.Add(0, true, "", output)
	}
	f.Fuzz(func(t *testing.T, exit int, plain bool, name, output string) {
		if !named.MatchString(name) {
			return
		}
		job := recovery.Job{ID: "h/1", Kind: recovery.JobRepair, Plain: plain, Host: recovery.Host{Name: name}, Rung: recovery.Rung{Address: "192.0.2.7"}}
		r := judge(job, exit, output)
		if !tidy(r.Line, 514) || !tidy(r.Signature, 160) || !tidy(r.Detail, 420) || r.Detail == "" {
			t.Fatalf("not fit to be shown: line %q, signature %q, detail %q", r.Line, r.Signature, r.Detail)
		}
		want := exit == 0 && (plain || claims(output))
		if got := r.Class == recovery.Succeeded; got != want || r.Exit != exit {
			t.Fatalf("exit %d with %q is %s (exit %d)", exit, output, r.Class, r.Exit)
		}
		switch r.Class {
		case recovery.Succeeded:
			if r.Signature != "" {
				t.Fatalf("a success with the signature %q", r.Signature)
			}
		case recovery.NothingFound, recovery.Failed:
			if r.Signature == "" || (r.Class == recovery.NothingFound) != (exit == 10 && !plain) {
				t.Fatalf("exit %d is %s with the signature %q", exit, r.Class, r.Signature)
			}
		default:
			t.Fatalf("a script that ended is %s", r.Class)
		}
	})
}

// FuzzNeutral wants like failures to read alike: what is already neutral stays as it is, and no address is left.
func FuzzNeutral(f *testing.F) {
	for _, text := range []string{"h1: cannot open /dev/sda1", "192.0.2.7 refused", "fe80::1%eth0", "::ffff:192.0.2.7", "a 0xdeadbeef01 b", "12-34-56-78-9a", "1.2.3.4.5", "Permission denied (publickey)", "HOST #"} {
		f.Add("h1", "192.0.2.7", text)
	}
	f.Add("h", "", "h h.h H-h")
	f.Add("HOST", "ADDRESS", "a # HOST #")
	f.Fuzz(func(t *testing.T, name, at, text string) {
		if !named.MatchString(name + at) {
			return
		}
		job := recovery.Job{Host: recovery.Host{Name: name}, Rung: recovery.Rung{Address: at}}
		got := Neutral(job, text)
		if !tidy(got, 102) {
			t.Fatalf("not fit to be shown: %q", got)
		}
		if strings.ContainsAny(got, "0123456789") {
			t.Fatalf("%q became %q, which still tells hosts apart", text, got)
		}
	})
}

// FuzzTalk lets whatever answers on a host's SSH port, and then its shell, say anything: what comes before the identification
// is skipped and bounded, and nothing but a line of ours with its secret word is taken for the runner's.
func FuzzTalk(f *testing.F) {
	const nonce, knock = "NONCE", "KNOCK"
	for _, said := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "welcome\r\nSSH-2.0-x\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-" + strings.Repeat("x", 400) + "\n", strings.Repeat("x", 600) + "\nSSH-1.5-old\n", "xSSH-2.0-no\n",
		"\nKNOCK\nNONCE hello\n", "NONCE hello", " hello\n NONCE hello\nNONCE hello\n there\n NONCE end 3\nNONCE end 0\n", "\nKNOCK\n" + strings.Repeat("motd\n", 20) + "NONCE hello\noutput\nof a script\nNONCE end 0\n", "KNOCK\nxNONCE hello\nNONCE hello\nNONCE end 1\n",
		"NONCE hello\n" + strings.Repeat("z", 20<<10) + "NONCE end 0\nNONCE end 7\n", "NONCE hello\n" + strings.Repeat("z", 16<<10) + "NONCE end 5\nNONCE end 0\n", "NONCE hello\nno line break at the endNONCE end 0\n\nNONCE end 0\n", "NONCE \n\x1b[31m\x00\xff\nNONCE end 9999999999999999999999\n",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		g := newGreeting(speaker{r: bytes.NewReader(said)})
		if err := g.skip(); err == nil && (!bytes.HasPrefix(g.ident, []byte("SSH-")) || !bytes.HasSuffix(g.ident, []byte("\n")) || len(g.ident) > maxIdent || !bytes.Contains(said, g.ident)) {
			t.Fatalf("taken for an identification: %q", g.ident)
		}
		if words := g.words.last(); !tidy(words, 402) {
			t.Fatalf("the host's words are not fit to be shown: %q", words)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		x := &talk{l: &link{}, nonce: nonce, knock: knock, in: nowhere{}, out: bufio.NewReaderSize(bytes.NewReader(said), 16<<10), chatter: newKept(0, 2<<10), stderr: newKept(0, 2<<10)}
		word, err := x.hear(ctx, 10*time.Second)
		lines := "\n" + string(said)
		if err != nil {
			if !errors.Is(err, errEnd) && !errors.Is(err, errFlood) {
				t.Fatalf("a strange end: %v", err)
			}
			return
		}
		if strings.ContainsAny(word, "\n") || !strings.Contains(lines, "\n"+nonce+" "+word) {
			t.Fatalf("it never said %q", word)
		}
		rest, err := io.ReadAll(x.out)
		if err != nil {
			t.Fatal(err)
		}
		x.out = bufio.NewReaderSize(bytes.NewReader(rest), 16<<10)
		output := newKept(keepHead, keepTail)
		word, err = x.hearOutput(ctx, 10*time.Second, output)
		want, ended := endOf(string(rest), nonce)
		if (err == nil) != ended || word != want {
			t.Fatalf("%q, %v is heard as the end, and %q was said (%v)", word, err, want, ended)
		}
		if n := len(output.bytes()); n > len(rest) {
			t.Fatalf("%d bytes of output out of %d that were said", n, len(rest))
		}
	})
}

// endOf is the first whole line of the runner's own in what a shell says.
func endOf(said, nonce string) (word string, ok bool) {
	for line := range strings.Lines(said) {
		if rest, own := strings.CutPrefix(line, nonce+" "); own && strings.HasSuffix(line, "\n") && len(line) <= 16<<10 {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// speaker is a connection that only speaks.
type speaker struct {
	net.Conn
	r io.Reader
}

func (d speaker) Read(p []byte) (int, error) { return d.r.Read(p) }

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }
