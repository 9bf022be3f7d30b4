//go:build e2e

package power

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// fakeService is a machine behind a web interface: as much of vCenter's REST and of Redfish as the real agents ask for. It takes one login.
type fakeService struct {
	mu sync.Mutex
	on bool
}

func (f *fakeService) isOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.on
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	user, password, _ := r.BasicAuth()
	known := user == boardUser && password == boardPassword || r.Header.Get("Vmware-Api-Session-Id") == "session-1"
	word := map[bool]string{true: "On", false: "Off"}[f.on]
	switch path := r.URL.Path; {
	case !known:
		w.WriteHeader(http.StatusUnauthorized)
		answer(map[string]any{"value": map[string]any{"messages": []any{map[string]any{"default_message": "Authentication required."}}}})
	case path == "/rest/com/vmware/cis/session":
		answer(map[string]any{"value": "session-1"})
	case path == "/rest/vcenter/vm" && r.URL.Query().Get("filter.names") == "app 07":
		answer(map[string]any{"value": []any{map[string]any{"vm": "vm-7", "name": "app 07", "power_state": "POWERED_" + strings.ToUpper(word)}}})
	case path == "/rest/vcenter/vm":
		answer(map[string]any{"value": []any{}})
	case path == "/rest/vcenter/vm/vm-7/power/start":
		f.on = true
	case path == "/rest/vcenter/vm/vm-7/power/stop":
		f.on = false
	case path == "/redfish/v1/Systems/1":
		reset := map[string]any{"#ComputerSystem.Reset": map[string]any{"target": "/redfish/v1/Systems/1/Reset"}}
		answer(map[string]any{"PowerState": word, "Actions": reset})
	case path == "/redfish/v1/Systems/1/Reset":
		var order struct{ ResetType string }
		_ = json.NewDecoder(r.Body).Decode(&order)
		f.on = order.ResetType == "On"
	default:
		http.NotFound(w, r)
	}
}

// What is fake here is the service: the agents, their libraries and their words are real.
func TestAgentsOfWebInterfaces(t *testing.T) {
	t.Parallel()
	for program, c := range map[string]struct {
		options  map[string]string
		password recovery.Class // of a wrong one
		words    string
	}{
		"fence_vmware_rest": {map[string]string{"plug": "app 07"}, recovery.AuthRefused, "login refused"},
		"fence_redfish":     {map[string]string{"systems_uri": "/redfish/v1/Systems/1"}, recovery.Failed, "exit 1"}, // it does not look at the answer's status
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			machine := &fakeService{on: true}
			server := httptest.NewUnstartedServer(machine)
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that only look whether somebody is there
			server.StartTLS()
			defer server.Close()
			_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
			control := recovery.Control{
				Name: "web", Program: program, Timeout: 30 * time.Second,
				Options: map[string]string{"ip": "127.0.0.1", "ipport": port, "username": boardUser, "ssl_insecure": "1"},
				Secrets: map[string]string{"password": secretFile(t, boardPassword)},
			}
			for key, value := range c.options {
				control.Options[key] = value
			}
			a := Open(control)

			if err := a.Off(t.Context()); err != nil || machine.isOn() {
				t.Fatalf("it is not off: %v", err)
			}
			if err := a.On(t.Context()); err != nil || !machine.isOn() {
				t.Fatalf("it is not on: %v", err)
			}

			control.Secrets = map[string]string{"password": secretFile(t, "wr0ng-one")}
			_, err := Open(control).State(t.Context())
			wantError(t, err, c.password, c.words)
			if strings.Contains(fmt.Sprint(err), "wr0ng") {
				t.Errorf("a secret is shown: %v", err)
			}
			control.Secrets = map[string]string{"password": secretFile(t, boardPassword)}
			if c.options["plug"] != "" {
				control.Options["plug"] = "of nobody"
				_, err = Open(control).State(t.Context())
				wantError(t, err, recovery.Failed, "no status")
			}
			server.Close()
			_, err = Open(control).State(t.Context())
			wantError(t, err, recovery.Unreachable, "no answer")
		})
	}
}
