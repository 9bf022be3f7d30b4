package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// visit is one authenticated connection into one environment of a machine.
type visit struct {
	machine *machine
	env     string
	conn    net.Conn
	ctx     context.Context // ends with the connection
	end     context.CancelFunc
}

func newVisit(m *machine, env string, c net.Conn) *visit {
	v := &visit{machine: m, env: env, conn: c}
	v.ctx, v.end = context.WithCancel(context.Background())
	return v
}

// sessionLimit bounds the open sessions of a connection, as sshd's MaxSessions does.
const sessionLimit = 10

func (v *visit) serve(channels <-chan ssh.NewChannel) {
	slots := make(chan struct{}, sessionLimit)
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "only sessions are served here")
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = n.Reject(ssh.ResourceShortage, "too many sessions on this connection")
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			<-slots
			continue
		}
		v.machine.lab.running.Go(func() {
			defer func() { <-slots }()
			v.session(ch, requests)
		})
	}
}

// session handles one channel: requests until one of them starts something, then only signals. The work begins after the
// reply to its request, because a quick command may end, and close the channel, before a later reply is out.
func (v *visit) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close() //nolint:errcheck // the peer may have closed it
	var cmd *exec.Cmd
	var running sync.WaitGroup
	busy := false
	for r := range requests {
		var work func()
		ok := false
		switch {
		case r.Type == "signal" && cmd != nil:
			var msg struct{ Name string }
			if ok = ssh.Unmarshal(r.Payload, &msg) == nil; ok {
				v.machine.signal(cmd.Process, msg.Name)
			}
		case busy:
		case r.Type == "exec":
			var msg struct{ Command string }
			if ssh.Unmarshal(r.Payload, &msg) == nil {
				cmd, work = v.start(ch, "-c", msg.Command)
			}
		case r.Type == "shell":
			cmd, work = v.start(ch)
		case r.Type == "subsystem":
			var msg struct{ Name string }
			if ssh.Unmarshal(r.Payload, &msg) == nil && msg.Name == "sftp" {
				work = func() { v.files(ch) }
			}
		}
		if r.WantReply {
			_ = r.Reply(ok || work != nil, nil)
		}
		if work != nil {
			busy = true
			running.Go(work)
		}
	}
	running.Wait()
}

// start runs /bin/sh with args for a channel, in the machine's environment. It returns what attends to it until its end,
// or nil when nothing was started.
func (v *visit) start(ch ssh.Channel, args ...string) (*exec.Cmd, func()) {
	env, err := v.environ()
	if err != nil {
		v.machine.log.Warn("no environment for a session", "error", err)
		return nil, nil
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env, cmd.Dir = env.list, env.home
	ownGroup(cmd)
	pipes, err := plug(cmd)
	if err == nil {
		err = v.machine.launch(v.conn, cmd)
		pipes.childHas()
	}
	if err != nil {
		pipes.close()
		v.machine.log.Debug("command does not start", "error", err)
		return nil, nil
	}
	return cmd, func() { v.attend(ch, cmd, pipes) }
}

// attend carries a command's streams and sends its end. Like sshd, it keeps the channel open as long as anything holds the
// command's output, and lets the command live when the connection is gone.
func (v *visit) attend(ch ssh.Channel, cmd *exec.Cmd, p *pipes) {
	defer context.AfterFunc(v.ctx, p.close)()
	var out, in sync.WaitGroup
	in.Go(func() {
		_, _ = io.Copy(p.in, ch)
		_ = p.in.Close()
	})
	out.Go(func() { _, _ = io.Copy(ch, p.out) })
	out.Go(func() { _, _ = io.Copy(ch.Stderr(), p.err) })
	err := cmd.Wait()
	v.machine.ended(cmd.Process)
	sendEnd(ch, err)
	out.Wait()
	_ = ch.Close()
	p.close()
	in.Wait()
}

func sendEnd(ch ssh.Channel, err error) {
	status := struct{ Status uint32 }{0}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case !errors.As(err, &exit):
		status.Status = 255
	default:
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			end := struct {
				Signal    string
				Core      bool
				Text, Tag string
			}{Signal: sshSignal(ws.Signal())}
			_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(&end))
			return
		}
		status.Status = uint32(exit.ExitCode())
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(&status))
}

func sshSignal(s syscall.Signal) string {
	switch s {
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGTERM:
		return "TERM"
	case syscall.SIGPIPE:
		return "PIPE"
	default:
		return "KILL"
	}
}

// files serves SFTP.
func (v *visit) files(ch ssh.Channel) {
	env, err := v.environ()
	if err != nil {
		v.machine.log.Warn("no environment for SFTP", "error", err)
		_ = ch.Close()
		return
	}
	s, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(env.home))
	if err == nil {
		err = s.Serve()
		_ = s.Close()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	sendEnd(ch, err)
	_ = ch.Close()
}

// surroundings is what a session finds around it.
type surroundings struct {
	home string
	list []string
}

func (v *visit) environ() (surroundings, error) {
	m := v.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	var home string
	switch {
	case v.env == EnvRescueLinux: // the rescue system's own memory, not the disk
		home = filepath.Join(m.lab.dir, "rescue", m.spec.Name)
	case windows(m.spec.OS):
		home = filepath.Join(m.disk.root, "Users", "Administrator")
	default:
		home = filepath.Join(m.disk.root, "root")
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return surroundings{}, err
	}
	return surroundings{home, []string{
		"PATH=" + m.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
		"BLACKSTART_ROOT=" + m.root(), "BLACKSTART_LAB_MACHINE=" + m.spec.Name,
	}}, nil
}

// launch starts a command, unless the power went meanwhile.
func (m *machine) launch(through net.Conn, cmd *exec.Cmd) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, here := m.logins[through]; !here {
		return fmt.Errorf("%s has lost its power: %w", m.spec.Name, net.ErrClosed)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.procs[cmd.Process] = struct{}{}
	return nil
}

func (m *machine) ended(p *os.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.procs, p)
}

// signal passes an SSH signal on to a command that has not ended yet.
func (m *machine) signal(p *os.Process, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, runs := m.procs[p]; runs {
		signalGroup(p, name)
	}
}

// pipes are our ends of a command's streams, and, until it has started, the command's.
type pipes struct {
	in, out, err *os.File
	child        []*os.File
}

func plug(cmd *exec.Cmd) (*pipes, error) {
	p := &pipes{}
	var rd [3]*os.File
	var wr [3]*os.File
	for i := range rd {
		var err error
		if rd[i], wr[i], err = os.Pipe(); err != nil {
			for j := range i {
				_, _ = rd[j].Close(), wr[j].Close()
			}
			return p, fmt.Errorf("pipes for a command: %w", err)
		}
	}
	p.in, p.out, p.err = wr[0], rd[1], rd[2]
	p.child = []*os.File{rd[0], wr[1], wr[2]}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = rd[0], wr[1], wr[2]
	return p, nil
}

// childHas closes the ends that the command has inherited.
func (p *pipes) childHas() {
	for _, f := range p.child {
		_ = f.Close()
	}
}

func (p *pipes) close() {
	for _, f := range []*os.File{p.in, p.out, p.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}
