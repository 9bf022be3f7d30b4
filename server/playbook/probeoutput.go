package playbook

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var (
	bootLine    = regexp.MustCompile(`^BLACKSTART-PROBE boot=([0-9a-f-]{0,64})$`)
	contentLine = regexp.MustCompile(`^BLACKSTART-CONTENT playbook=(sha256:[0-9a-f]{64}) bad=(\d{1,6}) good=(\d{1,6}) seen=(\d{1,6}) missing=([01]) error=([a-z-]{1,32})$`)
	endLine     = regexp.MustCompile(`^BLACKSTART-PROBE end playbooks=(\d{1,6})$`)
)

// probeErrors turns the script's words into sentences.
var probeErrors = map[string]string{
	"cannot-read":    "a file that the probe asks for cannot be read; check rights, the disk, and that stat, od and sha256sum exist on the host",
	"cannot-list":    "a folder that the probe asks for cannot be listed; log in as a user who may",
	"too-many-files": fmt.Sprintf("more than %d files match one probe; name the files more closely in the playbook", maxProbeFiles),
}

// ParseProbeOutput reads what ShellProbe's script printed. bootID is empty where the host has none to read. Lines that are
// not the script's are passed over, but the answer must be whole: a cut, doubled or garbled one is an error, for it would
// say too little.
func ParseProbeOutput(out []byte) (content []recovery.Content, bootID string, err error) {
	booted, ended := false, false
	for line := range bytes.Lines(out) {
		line = bytes.TrimRight(line, "\r\n")
		if !bytes.HasPrefix(line, []byte("BLACKSTART-")) {
			continue
		}
		if ended {
			return nil, "", errors.New("the probe's answer goes on after its end; run the probe again")
		}
		if m := bootLine.FindSubmatch(line); m != nil && !booted {
			booted, bootID = true, string(m[1])
			continue
		}
		if m := contentLine.FindSubmatch(line); m != nil && booted {
			c := contentOf(m)
			if slices.ContainsFunc(content, func(o recovery.Content) bool { return o.Playbook == c.Playbook }) {
				return nil, "", fmt.Errorf("the probe's answer holds playbook %s twice; run the probe again", c.Playbook)
			}
			content = append(content, c)
			continue
		}
		if m := endLine.FindSubmatch(line); m != nil && booted {
			if n, _ := strconv.Atoi(string(m[1])); n != len(content) {
				return nil, "", fmt.Errorf("the probe's answer names %d playbooks and holds %d; run the probe again", n, len(content))
			}
			ended = true
			continue
		}
		return nil, "", fmt.Errorf("the probe answered %.120q, which is not understood; run the probe again, or look at the host by hand", line)
	}
	if !ended {
		return nil, "", errors.New("the probe's answer has no end; it was cut off or the script could not run: try again, or look at the host by hand")
	}
	return content, bootID, nil
}

// contentOf turns a matched content line into the core's terms.
func contentOf(m [][]byte) recovery.Content {
	number := func(b []byte) int { n, _ := strconv.Atoi(string(b)); return n } // at most six digits, by the pattern
	c := recovery.Content{
		Playbook: string(m[1]),
		Bad:      number(m[2]),
		Good:     number(m[3]),
		Missing:  string(m[5]) == "1",
	}
	if n := number(m[4]); n != c.Bad+c.Good {
		c.Detail = fmt.Sprintf("%d files of the right name, of which %d are neither bad nor good", n, n-c.Bad-c.Good)
	}
	if word := string(m[6]); word != "-" {
		c.Error = probeErrors[word]
		if c.Error == "" {
			c.Error = "the probe could not run to its end: " + word
		}
	}
	return c
}
