//go:build bench

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// The parts of the benchmark that need a process of their own are this test binary, started with the name of the part here.
const peerPartEnv = "BLACKSTART_BENCH_PART"

func init() {
	parts := map[string]func(args []string) error{"measure": peerMeasure, "side": peerSide, "server": peerServer, "bare": peerBare}
	name := os.Getenv(peerPartEnv)
	if name == "" {
		return
	}
	if err := parts[name](os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// peerPart is a command that runs one of the parts.
func peerPart(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Env = append(os.Environ(), peerPartEnv+"="+name)
	return c
}

// peerCost is what one run of a client cost.
type peerCost struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"` // user and system, of the client and every process that it started
	Exit int           `json:"exit"`

	HostsCPU time.Duration `json:"hosts_cpu_ns"` // of the servers and all that ran on the hosts
}

// peerMeasure runs a client: FILE PART COMMAND…, where PART is one of this binary or "-". It adopts what the client leaves behind (an ssh that shares its connection goes on
// for a minute), ends it when the client has ended, and counts its CPU too. The cost goes to FILE.
func peerMeasure(args []string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Setenv(peerPartEnv, strings.TrimPrefix(args[1], "-")); err != nil {
		return err
	}
	c := exec.Command(args[2], args[3:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	from := time.Now()
	if err := c.Start(); err != nil {
		return err
	}
	var exited *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exited) {
		return err
	}
	cost := peerCost{Wall: time.Since(from), Exit: c.ProcessState.ExitCode()}
	if err := peerEndOrphans(); err != nil {
		return err
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		return err
	}
	cost.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	text, err := json.Marshal(cost)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], text, 0o600)
}

// peerEndOrphans ends and reaps every child of this process.
func peerEndOrphans() error {
	deadline := time.Now().Add(20 * time.Second)
	for sign := syscall.SIGTERM; ; {
		children, err := peerChildren(os.Getpid())
		if err != nil {
			return err
		}
		for _, pid := range children {
			_ = syscall.Kill(pid, sign)
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return nil
			}
			if err != nil && !errors.Is(err, syscall.EINTR) {
				return err
			}
			if pid == 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			sign = syscall.SIGKILL
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // another process's state cannot be waited for otherwise
	}
}

// peerSide is the side of the hosts: SLOWPORT PORT DELAY COMMAND…. It runs the server COMMAND, adopts and reaps what detaches
// itself from that, and answers at SLOWPORT for slow hosts: it hands each connection to PORT of the same address after DELAY.
func peerSide(args []string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	delay, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "0.0.0.0:"+args[0])
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go peerDelay(conn.(*net.TCPConn), args[1], delay)
		}
	}()
	c := exec.Command(args[3], args[4:]...)
	c.Env = append(os.Environ(), peerPartEnv+"=server") // sshd does not read it
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if pid == c.Process.Pid {
			return errors.New("the server has ended")
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// peerDelay is one connection to a slow host: nothing is said for a while, then all goes through.
func peerDelay(near *net.TCPConn, port string, delay time.Duration) {
	defer near.Close()
	time.Sleep(delay) //nolint:forbidigo // the delay is what it is for
	conn, err := net.Dial("tcp4", net.JoinHostPort(near.LocalAddr().(*net.TCPAddr).IP.String(), port))
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer far.Close()
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			_ = way[1].CloseWrite()
		})
	}
	both.Wait()
}

// peerServer is the Go SSH server: PORT HOSTKEY AUTHORIZED. It serves every local address, with exec and SFTP.
func peerServer(args []string) error {
	if err := os.Unsetenv(peerPartEnv); err != nil {
		return err
	}
	key, err := peerSigner(args[1])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	authorized, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), authorized.Marshal()) {
			return nil, errors.New("not the key")
		}
		return nil, nil
	}}
	config.AddHostKey(key)
	l, err := net.Listen("tcp4", "0.0.0.0:"+args[0])
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go peerServe(conn, config)
	}
}

func peerServe(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer c.Close()
	go ssh.DiscardRequests(requests)
	for asked := range channels {
		if asked.ChannelType() != "session" {
			_ = asked.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go peerSession(conn, channel, requests)
	}
}

// peerSession does the first exec or subsystem request of a session.
func peerSession(conn net.Conn, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		var text struct{ Text string }
		switch known := ssh.Unmarshal(r.Payload, &text) == nil; {
		case known && r.Type == "exec":
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			code := peerExec(conn, channel, text.Text)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
			return
		case known && r.Type == "subsystem" && text.Text == "sftp":
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			if server, err := sftp.NewServer(channel); err == nil {
				_ = server.Serve()
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{0}))
			return
		default:
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}
}

func peerExec(conn net.Conn, channel ssh.Channel, command string) uint32 {
	c := exec.Command("/bin/sh", "-c", command)
	near, far := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	c.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "SHELL=/bin/sh",
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", far.IP, far.Port, near.IP, near.Port),
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Stdout, c.Stderr = channel, channel.Stderr()
	in, err := c.StdinPipe()
	if err != nil {
		return 255
	}
	if err := c.Start(); err != nil {
		return 255
	}
	go func() {
		_, _ = io.Copy(in, channel)
		_ = in.Close()
	}()
	_ = c.Wait()
	return uint32(c.ProcessState.ExitCode())
}

// peerBareAnswer is what the bare loop says of one host, one JSON object a line.
type peerBareAnswer struct {
	Host   string `json:"host"`
	Exit   int    `json:"exit"`
	Output string `json:"output"`
	Error  string `json:"error,omitempty"`
}

// peerBare is the bare loop: TARGETS KNOWNHOSTS KEY FANOUT, the script on its standard input. It is the least that a Go
// program can do: workers, a connection each with a strict host key, one session, output and exit collected.
func peerBare(args []string) error {
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	keys, err := peerKnown(args[1])
	if err != nil {
		return err
	}
	key, err := peerSigner(args[2])
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	script, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	var all sync.WaitGroup
	targets := make(chan string)
	for range workers {
		all.Go(func() {
			for at := range targets {
				answer := peerBareHost(at, keys[at], key, script)
				mu.Lock()
				_ = out.Encode(answer)
				mu.Unlock()
			}
		})
	}
	for at := range strings.FieldsSeq(string(text)) {
		targets <- at
	}
	close(targets)
	all.Wait()
	return nil
}

func peerBareHost(at string, known ssh.PublicKey, key ssh.Signer, script []byte) peerBareAnswer {
	host, _, _ := net.SplitHostPort(at)
	a := peerBareAnswer{Host: host, Exit: -1}
	conn, err := net.DialTimeout("tcp", at, peerTimeout)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c, channels, requests, err := ssh.NewClientConn(conn, at, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(known), HostKeyAlgorithms: []string{known.Type()},
	})
	if err != nil {
		a.Error = err.Error()
		return a
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		a.Error = err.Error()
		return a
	}
	session.Stdin = bytes.NewReader(script)
	output, err := session.Output("sh -s")
	a.Output = string(output)
	var exited *ssh.ExitError
	switch {
	case err == nil:
		a.Exit = 0
	case errors.As(err, &exited):
		a.Exit = exited.ExitStatus()
	default:
		a.Error = err.Error()
	}
	return a
}

func peerSigner(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(text)
}

// peerKnown reads a known_hosts file without patterns, by IP:port.
func peerKnown(file string) (map[string]ssh.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys := map[string]ssh.PublicKey{}
	for len(text) > 0 {
		_, hosts, key, _, rest, err := ssh.ParseKnownHosts(text)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, at := range hosts {
			keys[strings.NewReplacer("[", "", "]", "").Replace(at)] = key
		}
		text = rest
	}
	return keys, nil
}

// peerChildren are the processes whose parent is pid.
func peerChildren(pid int) ([]int, error) {
	all, err := peerProcesses()
	if err != nil {
		return nil, err
	}
	var children []int
	for _, p := range all {
		if p.parent == pid {
			children = append(children, p.pid)
		}
	}
	return children, nil
}

// peerProcess is a line of the process table.
type peerProcess struct {
	pid, parent int
	cpu         time.Duration // its own and its reaped children's
}

// peerProcesses reads the process table.
func peerProcesses() ([]peerProcess, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []peerProcess
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		p := peerProcess{pid: pid}
		words := bufio.NewScanner(strings.NewReader(rest))
		words.Split(bufio.ScanWords)
		for n := 3; words.Scan(); n++ { // numbered as in proc_pid_stat(5)
			switch value, _ := strconv.Atoi(words.Text()); n {
			case 4:
				p.parent = value
			case 14, 15, 16, 17:
				p.cpu += time.Duration(value) * (time.Second / 100)
			}
		}
		all = append(all, p)
	}
	return all, nil
}
