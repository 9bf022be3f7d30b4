package health

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// System returns the checks of this machine: the file system that holds root is writable and not full, the kernel
// answers, and the named systemd units and processes are alive. A unit is alive while a process is in its control group.
func System(root string, units, processes []string) []Check {
	return system{root: root, proc: "/proc", cgroup: "/sys/fs/cgroup"}.checks(units, processes)
}

type system struct{ root, proc, cgroup string }

func (s system) checks(units, processes []string) []Check {
	checks := []Check{
		{"disk-writable", s.writable},
		{"disk-space", s.space},
		{"load", s.load},
	}
	for _, unit := range units {
		checks = append(checks, Check{"unit " + unit, func(context.Context) (string, error) { return s.unit(unit) }})
	}
	for _, name := range processes {
		pid := 0 // the one found last time is asked first
		checks = append(checks, Check{"process " + name, func(ctx context.Context) (detail string, err error) {
			pid, err = s.process(ctx, name, pid)
			return fmt.Sprintf("pid %d", pid), err
		}})
	}
	return checks
}

// writable looks at the file system's own state, not at the mount's: the agent's service sees every mount read-only
// (ProtectSystem=strict), but an ext4 or xfs that gave up after an error says so in its own options.
func (s system) writable(context.Context) (string, error) {
	data, err := os.ReadFile(filepath.Join(s.proc, "self", "mountinfo"))
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return "", err
	}
	point, kind, options := mountOf(data, root)
	if point == "" {
		return "", fmt.Errorf("no mount found for %s", root)
	}
	if slices.Contains(strings.Split(options, ","), "ro") {
		return "", fmt.Errorf("the %s file system on %s is read-only; look for disk errors in the kernel log", kind, point)
	}
	return kind + " on " + point, nil
}

// mountOf finds the mount that holds the folder: the longest mount point above it, the last one mounted there.
func mountOf(mountinfo []byte, folder string) (point, kind, options string) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		mount, super, ok := strings.Cut(lines.Text(), " - ")
		m, f := strings.Fields(mount), strings.Fields(super)
		if !ok || len(m) < 5 || len(f) < 3 {
			continue
		}
		at := unescape.Replace(m[4])
		above := at == "/" || folder == at || strings.HasPrefix(folder, at+"/")
		if above && len(at) >= len(point) {
			point, kind, options = at, f[0], f[2]
		}
	}
	return point, kind, options
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func (s system) space(context.Context) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return "", fmt.Errorf("%s: %w", s.root, err)
	}
	if st.Files > 0 && st.Ffree == 0 {
		return "", errors.New("disk full: no inode is free")
	}
	return judgeSpace(st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize))
}

func (s system) load(context.Context) (string, error) {
	data, err := os.ReadFile(filepath.Join(s.proc, "loadavg"))
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(data), " ")
	if _, err := strconv.ParseFloat(first, 64); err != nil {
		return "", fmt.Errorf("loadavg reads %q", clip(string(data)))
	}
	return "load " + first, nil
}

func (s system) unit(unit string) (string, error) {
	if !strings.Contains(unit, ".") {
		unit += ".service"
	}
	if !filepath.IsLocal(unit) || strings.Contains(unit, "/") {
		return "", fmt.Errorf("%q is no unit name", clip(unit))
	}
	places := []string{unit}
	if prefix, _, ok := strings.Cut(unit, "@"); ok {
		places = append(places, "system-"+strings.ReplaceAll(prefix, "-", `\x2d`)+".slice/"+unit)
	}
	for _, hierarchy := range []string{"", "unified", "systemd"} { // version 2, mixed, version 1
		for _, place := range places {
			err := alive(filepath.Join(s.cgroup, hierarchy, "system.slice", place))
			if !errors.Is(err, fs.ErrNotExist) {
				return "running", err
			}
		}
	}
	return "", fmt.Errorf("%s is not running: it has no control group", unit)
}

// alive reports whether a control group, or one below it, holds a process.
func alive(group string) error {
	if events, err := os.ReadFile(filepath.Join(group, "cgroup.events")); err == nil {
		if strings.Contains(string(events), "populated 1") {
			return nil
		}
		return errors.New("not running: its control group is empty")
	}
	procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(procs)) == 0 {
		return errors.New("not running: its control group is empty")
	}
	return nil
}

// process finds a running process by its name (as in ps -e, or its program's file name).
func (s system) process(ctx context.Context, name string, last int) (int, error) {
	if last > 0 && s.is(strconv.Itoa(last), name) {
		return last, nil
	}
	proc, err := os.Open(s.proc)
	if err != nil {
		return 0, err
	}
	defer func() { _ = proc.Close() }()
	for ctx.Err() == nil {
		batch, err := proc.Readdirnames(256)
		for _, entry := range batch {
			if pid, err := strconv.Atoi(entry); err == nil && s.is(entry, name) {
				return pid, nil
			}
		}
		if err != nil {
			return 0, fmt.Errorf("no process %q is running", clip(name))
		}
	}
	return 0, ctx.Err()
}

func (s system) is(pid, name string) bool {
	stat, err := os.ReadFile(filepath.Join(s.proc, pid, "stat"))
	if err != nil {
		return false
	}
	// "PID (comm) STATE …"; the kernel cuts comm to 15 bytes. A dead process that nobody collected is not alive.
	open, closed := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || closed < open || closed+2 >= len(stat) || bytes.IndexByte([]byte("ZX"), stat[closed+2]) >= 0 {
		return false
	}
	comm := string(stat[open+1 : closed])
	if comm == name {
		return true
	}
	if len(name) <= 15 || !strings.HasPrefix(name, comm) {
		return false
	}
	cmdline, err := os.ReadFile(filepath.Join(s.proc, pid, "cmdline"))
	program, _, _ := bytes.Cut(cmdline, []byte{0})
	return err == nil && filepath.Base(string(program)) == name
}
