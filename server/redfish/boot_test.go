package redfish

import (
	"slices"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// target fails unless the BMC says that the machine boots from there.
func target(t *testing.T, c *Client, wanted string) {
	t.Helper()
	if got, err := c.BootTarget(t.Context()); got != wanted || err != nil {
		t.Errorf("the boot target is %q, %v; want %q", got, err, wanted)
	}
}

func TestBootsIntoRescueOnceAndThenFromItsDisk(t *testing.T) {
	const cd = "Cd " + fakeISO
	for name, scene := range map[string]struct {
		quirks quirks
		image  string
		from   string
	}{
		"network":                         {quirks{}, "", "Pxe"},
		"network, an image of no kind":    {quirks{}, "http://192.0.2.1:8080/boot.ipxe", "Pxe"},
		"UEFI HTTP alone":                 {quirks{targets: []string{"None", "UefiHttp"}}, "", "UefiHttp"},
		"UEFI HTTP by its address":        {quirks{}, fakeEFI, "UefiHttp"},
		"CD":                              {quirks{}, fakeISO, cd},
		"changes are tasks":               {quirks{tasks: 2}, fakeISO, cd},
		"If-Match is wanted":              {quirks{wantsMatch: true}, fakeISO, cd},
		"If-Match without ETags":          {quirks{wantsMatch: true, noETags: true}, "", "Pxe"},
		"ETags are compared wrongly":      {quirks{badETags: true, wantsMatch: true, mediaPatch: true}, fakeISO, cd},
		"the mode must be repeated":       {quirks{wantsMode: true}, "", "Pxe"},
		"the mode must not be written":    {quirks{refusesMode: true}, "", "Pxe"},
		"the target None is not writable": {quirks{refusesNone: true}, "", "Pxe"},
		"settings for the next start":     {quirks{settings: true}, "", "Pxe"},
		"a drive under the system":        {quirks{mediaUnder: "Systems"}, fakeISO, cd},
		"a drive without actions":         {quirks{mediaPatch: true}, fakeISO, cd},
		"InsertMedia wants the protocol":  {quirks{protocol: true}, fakeISO, cd},
		"InsertMedia wants everything":    {quirks{everything: true}, fakeISO, cd},
		"EjectMedia takes no body":        {quirks{noBody: true}, fakeISO, cd},
		"an ejected image is still named": {quirks{ghost: true}, fakeISO, cd},
		"the drive shows the name only":   {quirks{nameOnly: true}, fakeISO, cd},
		"the virtual CD is a USB one":     {quirks{supermicro: true}, fakeISO, "UsbCd " + fakeISO},
		"basic authentication":            {quirks{basicOnly: true}, fakeISO, cd},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, scene.quirks)
			c, m, ctx := b.client(), b.machine(), t.Context()
			target(t, c, Disk)
			good(t, c.BootRescue(ctx, scene.image))
			target(t, c, Rescue)
			good(t, c.On(ctx))
			if !slices.Equal(m.boots, []string{scene.from}) {
				t.Errorf("booted from %q, not %q", m.boots, scene.from)
			}
			if m.mode != "UEFI" {
				t.Errorf("the boot mode is now %s", m.mode)
			}
			good(t, c.Off(ctx))
			good(t, c.BootDisk(ctx))
			target(t, c, Disk)
			good(t, c.On(ctx))
			if m.boots[1] != "Hdd" {
				t.Errorf("booted from %q in the end", m.boots)
			}
			b.left(t)
		})
	}
}

// A BMC that keeps a one-time override is seen, and cleared in whichever way it takes.
func TestClearsAnOverrideThatStays(t *testing.T) {
	for name, q := range map[string]quirks{
		"simply":                       {lasting: true},
		"None must be said":            {lasting: true, wantsNone: true},
		"None must not be said":        {lasting: true, refusesNone: true},
		"in the settings, as a task":   {settings: true, tasks: 1},
		"the mode must not be written": {lasting: true, refusesMode: true, wantsNone: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, q)
			c, m, ctx := b.client(), b.machine(), t.Context()
			good(t, c.BootRescue(ctx, ""))
			if !q.settings {
				good(t, c.On(ctx))
				if m.enabled != "Once" {
					t.Fatalf("the fake has cleared the override: %s", m.enabled)
				}
			}
			target(t, c, Rescue)
			good(t, c.BootDisk(ctx))
			target(t, c, Disk)
			m.power = "Off"
			good(t, c.On(ctx))
			if last := m.boots[len(m.boots)-1]; last != "Hdd" {
				t.Errorf("booted from %s", last)
			}
		})
	}
}

func TestAnOverrideThatDoesNotStickIsAFailure(t *testing.T) {
	b := startBMC(t, quirks{forgets: true})
	want(t, b.client().BootRescue(t.Context(), ""), recovery.Failed, "boot override does not stick", "accepts the boot override Once and still shows Disabled None UEFI")
	b.machine().enabled, b.machine().target = "Continuous", "Pxe"
	want(t, b.client().BootDisk(t.Context()), recovery.Failed, "boot override does not stick", "accepts the boot override Disabled and still shows Continuous Pxe")
	// Not even when only the mode is lost: the machine would start in the wrong one.
	b = startBMC(t, quirks{wantsMode: true, refusesMode: true})
	want(t, b.client().BootRescue(t.Context(), ""), recovery.Failed, "BMC answers 400: PropertyValueNotInList", "“The value UEFI for the property BootSourceOverrideMode")
	b.left(t)
}

func TestOnlyOfferedBootTargetsAreAskedFor(t *testing.T) {
	for _, scene := range []struct {
		quirks           quirks
		image            string
		signature, words string
	}{
		{quirks{targets: []string{"None", "Hdd"}}, "", "boot target not offered", "no boot from Pxe, only from None, Hdd"},
		{quirks{targets: []string{"None", "Pxe"}}, fakeISO, "boot target not offered", "no boot from Cd, only from None, Pxe"},
		{quirks{targets: []string{"None", "Pxe"}}, fakeEFI, "boot target not offered", "no boot from UefiHttp, only"},
		{quirks{times: []string{"Disabled", "Continuous"}}, "", "no one-time boot", "into rescue for ever"},
		{quirks{noBoot: true}, "", "no boot override", "does not say what its system boots from"},
	} {
		b := startBMC(t, scene.quirks)
		want(t, b.client().BootRescue(t.Context(), scene.image), recovery.Failed, scene.signature, scene.words)
		if changes := b.changes(); len(changes) != 0 {
			t.Errorf("%v: asked for %q", scene, changes)
		}
	}
}

func TestWhateverLeadsAwayFromTheDiskIsRescue(t *testing.T) {
	b := startBMC(t, quirks{})
	m, c := b.machine(), b.client()
	for _, is := range []struct{ enabled, target, wanted string }{
		{"Once", "Pxe", Rescue}, {"Continuous", "BiosSetup", Rescue}, {"", "Cd", Rescue},
		{"Disabled", "Pxe", Disk}, {"Once", "None", Disk}, {"Continuous", "Hdd", Disk}, {"Disabled", "None", Disk},
	} {
		m.enabled, m.target = is.enabled, is.target
		target(t, c, is.wanted)
	}
}
