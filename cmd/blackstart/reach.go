package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// reachOptions are the flags of a reach.
type reachOptions struct {
	*options
	fleetFile, hosts, rung string
	timeout                time.Duration
	all, noCoordinator     bool
	bootURL, rescueImage   string
	ssh                    remedy.Config
}

func newReach(o *options) *cobra.Command {
	r := &reachOptions{options: o}
	c := &cobra.Command{
		Use: "reach --fleet FILE", Short: "Try every way into every host, changing nothing", Args: cobra.NoArgs,
		Long: `Reach tries every rung of every host's ladder at once, with its jump hosts, as a repair would: connection, SSH banner, host key, login, shell, and what a repair needs there (a place it may write, room, its commands). It says how far each got, and if not all the way, why, in the words that a repair would end with. It changes nothing on hosts; only their logs note the logins.

Of a rescue rung it asks what switches the host and sets its boot target, and looks for all else that such an attempt needs: the rescue image, an identity for the network boot, the secrets; of a helper rung it tries the helper. A race rung is tried as it stands: a host that loops may well be down at that moment.

Whether agents are connected is asked of the coordinator; where none answers, hosts are looked at for the agent's process.

Hosts that do not answer cost one --timeout together, not one each. A host that answers has one and a half times as long for the SSH handshake, and three times for the login and for its shell.

--hosts chooses by name, with * and ? and [01-24], or by tier=, service=, site=, council=, group= or os=; items stand with commas between, and an item that begins with ! takes hosts out.

Exit codes: 0 every host has a rung that works; 3 some have none; 1 failed; 2 usage or invalid input.`,
		Example: `  blackstart reach --fleet fleet.yaml --ssh-key ~/.ssh/id_ed25519 --known-hosts known_hosts
  blackstart reach --fleet fleet.yaml --hosts 'tier=infrastructure,!dc01' --all
  blackstart reach --fleet fleet.yaml --rung rescue --no-coordinator -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("hosts") && strings.TrimSpace(r.hosts) == "" {
				return usage("--hosts is empty: leave it out for all hosts, or name some")
			}
			return r.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&r.fleetFile, "fleet", "", "the fleet `file`")
	f.StringVar(&r.hosts, "hosts", "", "the hosts: a `pattern`; default all")
	f.StringVar(&r.rung, "rung", "", "try only rungs of this `name`")
	f.DurationVar(&r.timeout, "timeout", 10*time.Second, "how long a host may take to accept a connection")
	f.BoolVar(&r.all, "all", false, "list each host and rung, instead of folding those that are alike")
	f.BoolVar(&r.noCoordinator, "no-coordinator", false, "do not ask a coordinator for the agents")
	f.StringVar(&r.bootURL, "boot-url", "", "`http://IP:PORT` that serve is given for the network boot, for rescue rungs")
	f.StringVar(&r.rescueImage, "rescue-image", "", "the `folder` of the rescue image, for rescue rungs")
	sshFlags(c, &r.ssh)
	return c
}

// longestReach bounds --timeout: three of them are waited for in a row.
const longestReach = 10 * time.Minute

func (r *reachOptions) run(c *cobra.Command) error {
	if err := needed(c, r.fleetFile, "fleet", "FILE"); err != nil {
		return err
	}
	if r.timeout < 100*time.Millisecond || r.timeout > longestReach {
		return usage("--timeout %s: use 100ms to %s", r.timeout, span(longestReach))
	}
	if r.bootURL != "" {
		if err := checkBootURL(r.bootURL); err != nil {
			return err
		}
	}
	f, err := r.loadFleet(c, r.fleetFile)
	if err != nil {
		return err
	}
	hosts, err := r.chosen(f)
	if err != nil {
		return err
	}
	if err := completeSSH(c, &r.ssh); err != nil {
		return err
	}
	r.ssh.Log = r.logger()
	r.ssh.Timeouts = remedy.Timeouts{Dial: r.timeout, Handshake: r.timeout * 3 / 2, Auth: 3 * r.timeout, Shell: 3 * r.timeout, Probe: 3 * r.timeout}
	raiseFileLimit(r.ssh.Log, 0)
	call, err := r.prepareRoll(c)
	if err != nil {
		return err
	}
	asked := make(chan roll, 1)
	go func() { asked <- call(c.Context()) }()

	began := time.Now()
	cfg := server.ReachConfig{SSH: r.ssh, Hosts: hosts, Rung: r.rung, AtOnce: max(1, openFiles()-filesOfOurs),
		RescueImage: r.rescueImage, BootURL: r.bootURL}
	done := r.progress(c, &cfg)
	found, err := server.Reach(c.Context(), cfg)
	done()
	switch {
	case c.Context().Err() != nil:
		return errInterrupted
	case err != nil:
		return usage("%w", err) // a key or a known_hosts file
	}
	a := accountOfReach(f, hosts, found, <-asked)
	a.Took = time.Since(began)
	if r.json() {
		err = printJSON(c, a)
	} else {
		a.print(c, r.all)
	}
	if err == nil && a.Counts.Hands > 0 {
		err = &outcome{exitHeld, fmt.Sprintf("hosts without a rung that works: %d of %d", a.Counts.Hands, a.Counts.Hosts)}
	}
	return err
}

// filesOfOurs is how many open files are kept for all but connections to hosts.
const filesOfOurs = 64

// chosen are the hosts that the flags mean; a rung that none of them has is a typing mistake.
func (r *reachOptions) chosen(f recovery.Fleet) ([]recovery.Host, error) {
	hosts, err := fleet.Select(f, r.hosts)
	if err != nil {
		return nil, usage("--hosts: %w", err)
	}
	if r.rung == "" {
		return hosts, nil
	}
	var names []string
	for _, h := range hosts {
		for _, rung := range h.Ladder {
			if rung.Kind == recovery.RungHands {
				continue
			}
			if rung.Name == r.rung {
				return hosts, nil
			}
			if !slices.Contains(names, rung.Name) {
				names = append(names, rung.Name)
			}
		}
	}
	return nil, usage("--rung %s: no chosen host has such a rung to try; there are: %s", r.rung, cell(named(names), longCell))
}

// progress tells from time to time how far it is. Programs are not told.
func (r *reachOptions) progress(c *cobra.Command, cfg *server.ReachConfig) (done func()) {
	if r.json() {
		return func() {}
	}
	var tested atomic.Int64
	cfg.Tested = func(hosts int) { tested.Store(int64(hosts)) }
	ended := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		next := time.NewTimer(patience)
		defer next.Stop()
		for {
			select {
			case <-next.C:
				next.Reset(5 * patience)
				fmt.Fprintf(c.ErrOrStderr(), "blackstart: %d of %s tried, waiting for the others …\n", tested.Load(), plural(len(cfg.Hosts), "host"))
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-told
	}
}

// roll is what a coordinator knows of the agents.
type roll struct {
	agents map[string]*pb.Agent
	why    string // it was not asked, or did not answer
}

// rollPatience is how long the coordinator may take: a reach must not wait for one that is down.
const rollPatience = 3 * time.Second

// prepareRoll returns what asks the coordinator. Only one that was named on the command line must be one that can be asked.
func (r *reachOptions) prepareRoll(c *cobra.Command) (func(context.Context) roll, error) {
	nobody := func(why string) func(context.Context) roll {
		return func(context.Context) roll { return roll{why: why} }
	}
	if r.noCoordinator {
		return nobody("no coordinator was asked"), nil
	}
	client, hangUp, err := r.dial()
	switch {
	case err != nil && c.Flags().Changed("coordinator"):
		return nil, err
	case err != nil:
		return nobody("no coordinator could be asked: " + err.Error()), nil
	}
	return func(ctx context.Context) roll {
		defer hangUp()
		return r.callRoll(ctx, client)
	}, nil
}

func (r *reachOptions) callRoll(ctx context.Context, client pb.OperatorServiceClient) roll {
	ctx, cancel := context.WithTimeout(ctx, rollPatience)
	defer cancel()
	out, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
	if err != nil {
		message, _ := explain(err)
		return roll{why: "the coordinator at " + r.coordinator + " was asked in vain: " + message}
	}
	agents := make(map[string]*pb.Agent, len(out.GetAgents()))
	for _, a := range out.GetAgents() {
		agents[a.GetHost()] = a
	}
	return roll{agents: agents}
}

// completePattern offers what --hosts may begin with: selectors, and the names of the fleet file that the line names already.
func completePattern(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1] // a list: its last item is being typed
	var offers []string
	offer := func(what, about string) {
		if what = before + what; strings.HasPrefix(what, typed) {
			offers = append(offers, cobra.CompletionWithDesc(what, about))
		}
	}
	f := fleetOf(c)
	for _, t := range f.Tiers {
		offer("tier="+t.Name, t.Title)
	}
	for _, s := range f.Services {
		offer("service="+s.Name, s.Title)
	}
	for _, h := range f.Hosts {
		offer(h.Name, h.Service)
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeRungs offers the names of the rungs in the fleet file.
func completeRungs(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, h := range fleetOf(c).Hosts {
		for _, r := range h.Ladder {
			if r.Kind != recovery.RungHands && !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// fleetOf is the fleet that a half-typed line names, or an empty one.
func fleetOf(c *cobra.Command) recovery.Fleet {
	file := c.Flags().Lookup("fleet")
	if file == nil || file.Value.String() == "" {
		return recovery.Fleet{}
	}
	f, err := fleet.Load(file.Value.String())
	if err != nil {
		return recovery.Fleet{}
	}
	return f
}
