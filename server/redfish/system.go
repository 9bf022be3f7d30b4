package redfish

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// maxPages and maxMembers bound what is read of one collection.
const (
	maxPages   = 16
	maxMembers = 1000
)

// system is what we want to know of a ComputerSystem.
type system struct {
	PowerState   string `json:"PowerState"`
	Manufacturer string `json:"Manufacturer"`
	Boot         *boot  `json:"Boot"`
	Actions      struct {
		Reset action `json:"#ComputerSystem.Reset"`
	} `json:"Actions"`
	VirtualMedia link `json:"VirtualMedia"`
	Links        struct {
		ManagedBy []link `json:"ManagedBy"`
	} `json:"Links"`
	Settings struct {
		Object link `json:"SettingsObject"`
	} `json:"@Redfish.Settings"`
}

// action is something that a resource can be told to do.
type action struct {
	Target string   `json:"target"`
	Info   string   `json:"@Redfish.ActionInfo"`
	Resets []string `json:"ResetType@Redfish.AllowableValues"`
}

func (s *system) power() power.State {
	switch s.PowerState {
	case "On":
		return power.On
	case "Off":
		return power.Off
	}
	return power.Unknown
}

// changing reports whether the power state will be another one soon.
func (s *system) changing() bool {
	return s.PowerState == "PoweringOn" || s.PowerState == "PoweringOff"
}

// members reads a collection, page by page.
func (v *visit) members(ctx context.Context, at string) ([]string, error) {
	var all []string
	for range maxPages {
		var page struct {
			Members []link `json:"Members"`
			Next    string `json:"Members@odata.nextLink"`
		}
		if _, err := v.get(ctx, at, &page); err != nil {
			return nil, err
		}
		for _, m := range page.Members {
			all = append(all, m.ID)
		}
		if page.Next == "" || len(all) > maxMembers {
			break
		}
		at = page.Next
	}
	return all, nil
}

// findSystem returns the path of the one system that is meant.
func (v *visit) findSystem(ctx context.Context) (string, error) {
	all, err := v.members(ctx, v.root.Systems.ID)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, path := range all {
		if v.system != "" && member(path) == v.system {
			return path, nil
		}
		ids = append(ids, member(path))
	}
	names := recovery.Clean(strings.Join(ids, ", "), maxSaid)
	switch {
	case len(all) == 0:
		return "", v.fail(recovery.Failed, "BMC has no system", "The BMC at %s shows no system to the user %q; see whether it is a chassis manager, and what the account may see.", v.where, v.username)
	case v.system != "":
		return "", v.fail(recovery.Failed, "BMC does not have the system", "The BMC at %s has no system %q, only %s; correct the option system.", v.where, v.system, names)
	case len(all) > 1:
		return "", v.fail(recovery.Failed, "BMC has several systems", "The BMC at %s has %d systems: %s; name the one that is meant in the option system.", v.where, len(all), names)
	}
	return all[0], nil
}

func (v *visit) readSystem(ctx context.Context) (*system, error) {
	var s system
	_, err := v.get(ctx, v.path, &s)
	return &s, err
}

// resets returns what the system can be told to do with its power; nothing means that the BMC does not say.
func (v *visit) resets(ctx context.Context, s *system) ([]string, error) {
	reset := s.Actions.Reset
	if len(reset.Resets) > 0 || reset.Info == "" {
		return reset.Resets, nil
	}
	var info struct {
		Parameters []struct {
			Name    string   `json:"Name"`
			Allowed []string `json:"AllowableValues"`
		} `json:"Parameters"`
	}
	if _, found, err := v.maybe(ctx, reset.Info, &info); err != nil || !found {
		return nil, err
	}
	for _, p := range info.Parameters {
		if p.Name == "ResetType" {
			return p.Allowed, nil
		}
	}
	return nil, nil
}

// choose returns the first of the ways that the BMC offers.
func (v *visit) choose(ctx context.Context, s *system, ways []string) (string, error) {
	if s.Actions.Reset.Target == "" {
		return "", v.fail(recovery.Failed, "no power control", "The BMC at %s offers no power control of its system; see whether the account may use it, and whether it needs a licence.", v.where)
	}
	offered, err := v.resets(ctx, s)
	if err != nil {
		return "", err
	}
	for _, way := range ways {
		if len(offered) == 0 || slices.Contains(offered, way) {
			return way, nil
		}
	}
	return "", v.fail(recovery.Failed, "no "+ways[0], "The BMC at %s offers no %s for its system, only %s.", v.where, ways[0], recovery.Clean(strings.Join(offered, ", "), maxSaid))
}

// switchTo switches the power with the first of the ways that the BMC offers, and returns when it is read back.
func (v *visit) switchTo(ctx context.Context, want power.State, ways ...string) error {
	var last string
	var refusal error
	sent := false
	ok, err := v.until(ctx, v.timeout, func() (bool, error) {
		s, err := v.readSystem(ctx)
		if err != nil {
			if sent && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, nil // it was asked for, and it did not come
			}
			return false, err
		}
		last = s.PowerState
		if s.power() == want {
			return true, nil
		}
		if refusal != nil || sent || s.changing() {
			return false, refusal
		}
		sent = true
		refusal, err = v.reset(ctx, s, ways)
		return false, err
	})
	if ok || err != nil {
		return err
	}
	if last == "" {
		last = "of unknown power"
	}
	return v.fail(recovery.Failed, "power did not change", "The BMC at %s took %s for its system, which is still %s after %v; look at its console and its log.", v.where, ways[0], last, v.timeout)
}

// reset tells the system to change its power. The refusal is not yet an error: a BMC also refuses what is already so.
func (v *visit) reset(ctx context.Context, s *system, ways []string) (refusal, err error) {
	way, err := v.choose(ctx, s, ways)
	if err != nil {
		return nil, err
	}
	a, err := v.change(ctx, http.MethodPost, s.Actions.Reset.Target, map[string]string{"ResetType": way}, "")
	if err != nil || a.ok() {
		return nil, err
	}
	refusal = v.complain(a, "the reset "+way)
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return nil, refusal
	}
	return refusal, nil
}

// monitor reads what a later visit needs.
func (v *visit) monitor(ctx context.Context) error {
	s, err := v.readSystem(ctx)
	if err != nil {
		return err
	}
	for _, ways := range [][]string{{"ForceOff"}, {"On", "ForceOn"}} {
		if _, err := v.choose(ctx, s, ways); err != nil {
			return err
		}
	}
	_, err = v.bootPlaces(ctx)
	return err
}
