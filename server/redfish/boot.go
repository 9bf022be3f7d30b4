package redfish

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// override is where the next start leads, or every start.
type override struct {
	Enabled string `json:"BootSourceOverrideEnabled,omitempty"`
	Target  string `json:"BootSourceOverrideTarget,omitempty"`
	Mode    string `json:"BootSourceOverrideMode,omitempty"`
	URI     string `json:"HttpBootUri,omitempty"`
}

// boot is a system's Boot, with what may be set in it.
type boot struct {
	override
	Targets []string `json:"BootSourceOverrideTarget@Redfish.AllowableValues"`
	Times   []string `json:"BootSourceOverrideEnabled@Redfish.AllowableValues"`
}

// disk reports whether nothing leads away from the system's own boot order.
func (b *boot) disk() bool {
	switch b.Target {
	case "", "None", "Hdd":
		return true
	}
	return b.Enabled == "Disabled"
}

// bootPlace is a resource that holds a Boot: the system, and on some BMCs its settings for the next start.
type bootPlace struct {
	path string
	seen *answer // for its ETag
	boot *boot
}

// bootPlaces reads where the boot override stands. It is set in the last of them.
func (v *visit) bootPlaces(ctx context.Context) ([]bootPlace, error) {
	var s system
	a, err := v.get(ctx, v.path, &s)
	if err != nil {
		return nil, err
	}
	var places []bootPlace
	if s.Boot != nil {
		if len(s.Boot.Targets) == 0 && s.Boot.Target == "" && s.Boot.Enabled == "" {
			s.Boot = nil // it speaks of other things only
		} else {
			places = append(places, bootPlace{v.path, a, s.Boot})
		}
	}
	if at := s.Settings.Object.ID; at != "" && at != v.path {
		var next struct {
			Boot *boot `json:"Boot"`
		}
		a, found, err := v.maybe(ctx, at, &next)
		if err != nil {
			return nil, err
		}
		if found && next.Boot != nil && next.Boot.Enabled+next.Boot.Target != "" {
			if len(next.Boot.Targets) == 0 && s.Boot != nil {
				next.Boot.Targets = s.Boot.Targets
			}
			places = append(places, bootPlace{at, a, next.Boot})
		}
	}
	if len(places) == 0 {
		return nil, v.fail(recovery.Failed, "no boot override", "The BMC at %s does not say what its system boots from, so it cannot be set; use the network boot of the host's own boot order.", v.where)
	}
	return places, nil
}

func (v *visit) bootsFromDisk(ctx context.Context) (bool, error) {
	places, err := v.bootPlaces(ctx)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(places, func(p bootPlace) bool { return !p.boot.disk() }) {
		return false, nil
	}
	drive, err := v.drive(ctx)
	if err != nil {
		return false, err
	}
	return drive == nil || !drive.full(), nil
}

func (v *visit) bootRescue(ctx context.Context, image string) error {
	places, err := v.bootPlaces(ctx)
	if err != nil {
		return err
	}
	last := places[len(places)-1].boot
	want, err := v.rescueOverride(ctx, last, image)
	if err != nil {
		return err
	}
	if want.Target == "Cd" || want.Target == "UsbCd" {
		if err := v.insert(ctx, image); err != nil {
			return err
		}
	}
	mode := last.Mode // some BMCs forget it unless it is repeated, and others refuse it
	if want.Target == "UefiHttp" && mode != "" {
		mode = "UEFI"
	}
	return v.setOverride(ctx, places, len(places)-1, spell(want, mode), func(b *boot) bool {
		return b.Enabled == want.Enabled && b.Target == want.Target && (want.URI == "" || b.URI == want.URI) && (mode == "" || b.Mode == mode)
	})
}

// rescueOverride chooses how the image is booted, among what the BMC offers.
func (v *visit) rescueOverride(ctx context.Context, b *boot, image string) (override, error) {
	want := override{Enabled: "Once"}
	targets := []string{"Pxe", "UefiHttp"}
	switch suffix(image) {
	case ".iso":
		s, err := v.readSystem(ctx)
		if err != nil {
			return want, err
		}
		targets = []string{"Cd", "UsbCd"}
		if strings.EqualFold(s.Manufacturer, "Supermicro") { // there the virtual CD is a USB one
			targets = []string{"UsbCd", "Cd"}
			if len(b.Targets) == 0 {
				targets = targets[1:]
			}
		}
	case ".efi":
		targets, want.URI = []string{"UefiHttp"}, image
	}
	if len(b.Times) > 0 && !slices.Contains(b.Times, want.Enabled) {
		return want, v.fail(recovery.Failed, "no one-time boot", "The BMC at %s offers no boot override for one start only, and a lasting one would boot the host into rescue for ever.", v.where)
	}
	for _, target := range targets {
		if len(b.Targets) == 0 || slices.Contains(b.Targets, target) {
			want.Target = target
			return want, nil
		}
	}
	return want, v.fail(recovery.Failed, "boot target not offered", "The BMC at %s offers no boot from %s, only from %s.", v.where, targets[0], recovery.Clean(strings.Join(b.Targets, ", "), maxSaid))
}

// suffix is the end of the image's file name: ".iso".
func suffix(image string) string {
	u, err := url.Parse(image)
	if err != nil {
		return ""
	}
	return strings.ToLower(path.Ext(u.Path))
}

// bootDisk clears the override wherever it stands, then empties the drive.
func (v *visit) bootDisk(ctx context.Context) error {
	places, err := v.bootPlaces(ctx)
	if err != nil {
		return err
	}
	for n := len(places) - 1; n >= 0; n-- {
		if n >= len(places) || places[n].boot.disk() {
			continue
		}
		ways := append([]override{{Enabled: "Disabled"}}, spell(override{Enabled: "Disabled", Target: "None"}, places[n].boot.Mode)...)
		if err := v.setOverride(ctx, places, n, ways, (*boot).disk); err != nil {
			return err
		}
		if places, err = v.bootPlaces(ctx); err != nil { // clearing the settings for the next start may have cleared the system's as well
			return err
		}
	}
	return v.empty(ctx)
}

// spell returns the ways of saying one override to BMCs of different minds.
func spell(want override, mode string) []override {
	ways := []override{want}
	if mode != "" {
		want.Mode = mode
		ways = append(ways, want)
	}
	return ways
}

// setOverride writes the override into place n, in one spelling after the other, until it shows there.
func (v *visit) setOverride(ctx context.Context, places []bootPlace, n int, spellings []override, shows func(*boot) bool) error {
	var problem error
	for _, way := range spellings {
		a, err := v.patch(ctx, places[n].path, places[n].seen, map[string]override{"Boot": way})
		if err != nil {
			return err
		}
		if !a.ok() {
			problem = v.complain(a, "the boot override "+way.Enabled)
			if !a.dislikes() {
				return problem
			}
			continue
		}
		ok, err := v.until(ctx, v.pace.settle, func() (bool, error) {
			if places, err = v.bootPlaces(ctx); err != nil {
				return false, err
			}
			if n >= len(places) {
				return false, v.fail(recovery.Failed, "no boot override", "The BMC at %s does not say any more what its system boots from; look at its Redfish service.", v.where)
			}
			return shows(places[n].boot), nil
		})
		if ok || err != nil {
			return err
		}
		now := places[n].boot.override
		problem = v.fail(recovery.Failed, "boot override does not stick", "The BMC at %s accepts the boot override %s and still shows %s %s %s; restart the BMC, or set it at its console.",
			v.where, way.Enabled, now.Enabled, now.Target, now.Mode)
	}
	return problem
}
