package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Every session's PATH begins with DIR/bin/HOST, a link to one of a few shared folders of shims. A shim learns from its own
// name whose it is, because a script's environment is clean of everything else. It tells the lab through one FIFO, which
// is opened for reading and writing so that nobody ever waits for the other side.

// shimHead finds the lab and the machine. A script's start goes to the machine's execution log as "ATTEMPT PID ARGS".
const shimHead = `#!/bin/sh
host=${0%/*} lab=${0%/bin/*}
host=${host##*/}
`

const shimSh = shimHead + `
case ${BLACKSTART_ATTEMPT:+$1} in
*/attempts/*/script.*)
	echo "$BLACKSTART_ATTEMPT $$ $*" >>"$lab/executions/$host"
	echo "script $host $$" 1<>"$lab/notices"
	DO
	;;
*) echo "sh $host $$" 1<>"$lab/notices" ;;
esac
exec /bin/sh "$@"
`

const shimReboot = shimHead + `
echo "reboot $host $$" 1<>"$lab/notices"
`

// The shims' variants: what happens between the start of a script and the script.
const (
	shimsPlain = "plain"
	shimsFlood = "flood"
	shimsHang  = "hang"
)

const (
	// A rescue image whose tools shout on every start.
	doFlood = `yes 'ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen' | head -c "$(cat "$lab/flood/$host")"`
	// A disk that hangs the first reader for ever.
	doHang = `mkdir "$lab/hung/$host" 2>/dev/null && exec sleep 2147483647`
)

// layShims writes the shims and what they need below dir.
func layShims(dir string) error {
	for _, f := range []string{"bin", "executions", "hung", "flood", "disks", "rescue", "mirrors"} {
		if err := os.MkdirAll(filepath.Join(dir, f), 0o755); err != nil {
			return err
		}
	}
	for name, do := range map[string]string{shimsPlain: ":", shimsFlood: doFlood, shimsHang: doHang} {
		bin := filepath.Join(dir, "shims", name)
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return err
		}
		for tool, text := range map[string]string{
			"sh": strings.Replace(shimSh, "DO", do, 1), "reboot": shimReboot, "shutdown": shimReboot,
		} {
			if err := os.WriteFile(filepath.Join(bin, tool), []byte(text), 0o755); err != nil {
				return err
			}
		}
	}
	if err := layPower(dir); err != nil {
		return err
	}
	return makeFIFO(filepath.Join(dir, "notices"))
}

// binFor links a machine's bin folder to the shims that its fault needs.
func binFor(dir string, h HostSpec, f Fault) (string, error) {
	variant := shimsPlain
	switch f.Kind {
	case Floods:
		variant = shimsFlood
		size := strconv.AppendInt(nil, int64(f.Bytes), 10)
		if err := os.WriteFile(filepath.Join(dir, "flood", h.Name), size, 0o644); err != nil {
			return "", err
		}
	case NeverEnds:
		variant = shimsHang
	default:
	}
	bin := filepath.Join(dir, "bin", h.Name)
	return bin, os.Symlink(filepath.Join("..", "shims", variant), bin)
}

// listen reads what the shims say until the FIFO is closed.
func (l *Lab) listen(fifo *os.File) {
	lines := bufio.NewReader(fifo)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		word := strings.Fields(string(line))
		if len(word) != 3 {
			continue
		}
		m, pid := l.byName[word[1]], 0
		if n, err := strconv.Atoi(word[2]); err == nil {
			pid = n
		}
		if m == nil || pid <= 1 {
			continue
		}
		switch word[0] {
		case "sh":
			m.ran(pid, false)
		case "script":
			m.ran(pid, true)
		case "reboot":
			m.reboot()
		case "off":
			m.switchOff()
		case "on":
			m.switchOn()
		}
	}
}

// Executions returns how often each attempt's script was really started, by attempt id, from the machines' execution logs.
func (l *Lab) Executions() (map[string]int, error) {
	all := make(map[string]int)
	for _, m := range l.machines {
		data, err := os.ReadFile(filepath.Join(l.dir, "executions", m.spec.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("execution log of %s: %w", m.spec.Name, err)
		}
		for line := range strings.Lines(string(data)) {
			id, _, _ := strings.Cut(line, " ")
			all[id]++
		}
	}
	return all, nil
}

// DoubleExecutions returns how many starts of scripts there were beyond the first of each attempt. It ought to be 0.
func (l *Lab) DoubleExecutions() (int, error) {
	all, err := l.Executions()
	n := 0
	for _, starts := range all {
		n += starts - 1
	}
	return n, err
}

// sortedByName orders machines for everything that walks over all of them.
func sortedByName(ms []*machine) {
	sort.Slice(ms, func(i, j int) bool { return ms[i].spec.Name < ms[j].spec.Name })
}
