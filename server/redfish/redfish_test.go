package redfish

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	fakeISO = "http://192.0.2.1:8080/rescue/token-of-the-attempt/rescue.iso"
	fakeEFI = "http://192.0.2.1:8080/ipxe.efi"
)

// want fails unless err is a *power.Error of the class, with the signature, whose detail holds the words and no secret.
func want(t *testing.T, err error, class recovery.Class, signature, words string) {
	t.Helper()
	var e *power.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *power.Error of class %s", err, class)
	}
	if e.Class != class || e.Signature != signature || !strings.Contains(e.Detail, words) {
		t.Errorf("got %s, %q, %q\nwant %s, %q, … %q …", e.Class, e.Signature, e.Detail, class, signature, words)
	}
	for _, secret := range []string{fakePassword, "token-"} {
		if strings.Contains(e.Detail+e.Signature, secret) {
			t.Errorf("the error tells the secret %q: %s: %s", secret, e.Signature, e.Detail)
		}
	}
	if strings.Contains(e.Signature, "127.0.0.1") {
		t.Errorf("the signature %q names the host, so that like failures do not group", e.Signature)
	}
	if e.Detail != recovery.Clean(e.Detail, 600) {
		t.Errorf("the detail is not clean: %q", e.Detail)
	}
}

func good(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// left fails if a session is still open.
func (b *fakeBMC) left(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sessions) != 0 {
		t.Errorf("%d sessions were left open", len(b.sessions))
	}
}

func TestSwitchesAndReadsBack(t *testing.T) {
	for name, q := range map[string]quirks{
		"as the schema says":          {},
		"basic authentication only":   {basicOnly: true},
		"no session free":             {noSession: true},
		"root wants a login":          {rootLogin: true, basicOnly: true},
		"Location with a host name":   {farLocation: true, tasks: 2},
		"no Location":                 {noLocation: true, tasks: 2, taskIsOK: true},
		"resets are tasks":            {tasks: 3},
		"tasks answered with 200":     {tasks: 3, taskIsOK: true},
		"the task is gone when done":  {tasks: 1, taskGone: true},
		"the task stays pending":      {tasks: 1, taskPending: true},
		"ResetType in ActionInfo":     {actionInfo: true},
		"changes slowly":              {slow: 4},
		"shows the old state again":   {wavers: true},
		"refuses and does it":         {conflict: true},
		"busy at first":               {busy: 3},
		"wants slashes":               {slashes: true},
		"no boot override":            {noBoot: true},
		"a collection of many pages":  {systems: 3, paged: true},
		"the last of several systems": {systems: 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, q)
			id := "1"
			if q.systems > 0 {
				id = "3"
			}
			c, m := b.client("system", id), b.find(id)
			ctx := t.Context()
			good(t, c.On(ctx))
			if m.power != "On" || !slices.Equal(m.boots, []string{"Hdd"}) {
				t.Errorf("the machine is %s and has booted %v", m.power, m.boots)
			}
			m.looks, m.wrong = 0, 0
			if state, err := c.State(ctx); state != power.On || err != nil {
				t.Errorf("got %q, %v", state, err)
			}
			good(t, c.Off(ctx))
			if m.power != "Off" {
				t.Errorf("the machine is %s", m.power)
			}
			m.looks, m.wrong = 0, 0
			if state, err := c.State(ctx); state != power.Off || err != nil {
				t.Errorf("got %q, %v", state, err)
			}
			if n := len(b.changes()); n != 2 {
				t.Errorf("%d changes were asked for, not one each way: %q", n, b.changes())
			}
			b.left(t)
		})
	}
}

func TestDoesNothingToAMachineThatIsAsItShould(t *testing.T) {
	b := startBMC(t, quirks{})
	good(t, b.client().Off(t.Context()))
	b.machine().power = "On"
	good(t, b.client().On(t.Context()))
	if changes := b.changes(); len(changes) != 0 {
		t.Errorf("asked for %q", changes)
	}
	if b.ended != 2 {
		t.Errorf("%d sessions were given back, not 2", b.ended)
	}
}

func TestWaitsForAChangeUnderWayBeforeItSwitches(t *testing.T) {
	b := startBMC(t, quirks{})
	m := b.machine()
	m.power, m.looks = "Off", 3
	if state, err := b.client().State(t.Context()); state != power.Unknown || err != nil {
		t.Errorf("while it is powering off: got %q, %v", state, err)
	}
	good(t, b.client().Off(t.Context()))
	if changes := b.changes(); len(changes) != 0 {
		t.Errorf("asked for %q", changes)
	}
}

func TestPowerThatDoesNotChangeIsAFailure(t *testing.T) {
	b := startBMC(t, quirks{deaf: true})
	c := b.client()
	c.timeout = time.Second
	want(t, c.On(t.Context()), recovery.Failed, "power did not change", "still Off after 1s")
	b.machine().power = "On"
	want(t, c.Off(t.Context()), recovery.Failed, "power did not change", "still On after")
	b.left(t)
}

func TestSwitchesOnlyInWaysThatAreOffered(t *testing.T) {
	for _, actionInfo := range []bool{false, true} {
		b := startBMC(t, quirks{noForceOff: true, actionInfo: actionInfo})
		b.machine().power = "On"
		want(t, b.client().Off(t.Context()), recovery.Failed, "no ForceOff", "only On, GracefulShutdown")
		want(t, b.client().Monitor(t.Context()), recovery.Failed, "no ForceOff", "only On, GracefulShutdown")
		if changes := b.changes(); len(changes) != 0 {
			t.Errorf("asked for %q", changes)
		}
	}
	b := startBMC(t, quirks{noReset: true})
	want(t, b.client().On(t.Context()), recovery.Failed, "no power control", "offers no power control")
}

func TestMonitorChangesNothing(t *testing.T) {
	b := startBMC(t, quirks{})
	good(t, b.client().Monitor(t.Context()))
	if changes := b.changes(); len(changes) != 0 {
		t.Errorf("asked for %q", changes)
	}
	b.left(t)
	none := startBMC(t, quirks{noBoot: true})
	want(t, none.client().Monitor(t.Context()), recovery.Failed, "no boot override", "does not say what its system boots from")
}

func TestSeveralSystemsMustBeTold(t *testing.T) {
	for _, paged := range []bool{false, true} {
		b := startBMC(t, quirks{systems: 3, paged: paged})
		want(t, b.client().On(t.Context()), recovery.Failed, "BMC has several systems", "3 systems: 1, 2, 3; name the one")
		want(t, b.client("system", "7").On(t.Context()), recovery.Failed, "BMC does not have the system", `no system "7", only 1, 2, 3`)
		good(t, b.client("system", "2").On(t.Context()))
		if b.machines[0].power+b.machines[1].power+b.machines[2].power != "OffOnOff" {
			t.Errorf("switched %v %v %v", b.machines[0].power, b.machines[1].power, b.machines[2].power)
		}
	}
}

func TestRefusedTasksTellTheirReason(t *testing.T) {
	b := startBMC(t, quirks{tasks: 2, taskError: true})
	want(t, b.client().On(t.Context()), recovery.Failed, "BMC answers 500: InternalError", "“The request failed due to an internal service error.”")
	b = startBMC(t, quirks{tasks: 2, taskKilled: true})
	want(t, b.client().On(t.Context()), recovery.Failed, "BMC's task failed: InternalError", "ended as Exception, saying “The task was interrupted by the power supply.”")
	b = startBMC(t, quirks{tasks: 1 << 20})
	c := b.client()
	c.timeout = time.Second
	want(t, c.On(t.Context()), recovery.TimedOut, "task not done in time", "longer than the call may take")
	b.left(t)
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	b := startBMC(t, quirks{})
	empty := t.TempDir() + "/empty.pem"
	good(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for words, more := range map[string][]string{
		"no IP address":                    {"url", "https://bmc.example.net"},
		"not of the form":                  {"url", "http://192.0.2.1"},
		"not of the form https":            {"url", "https://me:secret@192.0.2.1"},
		"not of the form https://192":      {"url", "https://192.0.2.1/redfish/v1"},
		"the option url":                   {"url", ""},
		"username and the secret password": {"username", ""},
		`the option "fingerprnt"`:          {"fingerprnt", "00"},
		"64 hexadecimal digits":            {"fingerprint", "00:11"},
		"only one of":                      {"insecure", "1"},
		"insecure is 1 or not there":       {"insecure", "yes", "fingerprint", ""},
		"holds no certificate":             {"ca", empty, "fingerprint", ""},
		"no readable file":                 {"ca", t.TempDir(), "fingerprint", ""},
	} {
		_, err := Open(b.control(more...))
		want(t, err, recovery.Failed, "wrong redfish options", words)
	}
	control := b.control()
	control.Kind = recovery.ControlAgent
	_, err := Open(control)
	want(t, err, recovery.Failed, "wrong redfish options", `kind is "agent"`)
	control = b.control()
	control.Secrets["passwd"] = "env:X"
	_, err = Open(control)
	want(t, err, recovery.Failed, "wrong redfish options", `secret "passwd" is not known`)
	control = b.control("url", "https://[2001:db8::1]:8443")
	c, err := Open(control)
	good(t, err)
	if c.base != "https://[2001:db8::1]:8443" || c.timeout != control.Timeout {
		t.Errorf("got %s, %s", c.base, c.timeout)
	}
}

func TestPasswordIsReadWhenItActs(t *testing.T) {
	b := startBMC(t, quirks{})
	control := b.control()
	control.Secrets["password"] = "env:BMC_PASSWORD_OF_THE_TEST"
	c, err := Open(control)
	good(t, err)
	_, err = c.State(t.Context())
	want(t, err, recovery.Failed, "password not readable", "BMC_PASSWORD_OF_THE_TEST is not set")
	t.Setenv("BMC_PASSWORD_OF_THE_TEST", fakePassword)
	if state, err := c.State(t.Context()); state != power.Off || err != nil {
		t.Errorf("got %q, %v", state, err)
	}
}

func TestCallsDoNotDisturbEachOther(t *testing.T) {
	b := startBMC(t, quirks{})
	c := b.client()
	results := make(chan error)
	for range 8 {
		go func() { results <- c.On(context.Background()) }()
	}
	for range 8 {
		good(t, <-results)
	}
	if boots := b.machine().boots; len(boots) == 0 {
		t.Error("nothing was switched on")
	}
	b.left(t)
}
