package redfish

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// oneAnswer answers every request alike, without a network.
type oneAnswer struct {
	status   int
	location string
	body     string
	asked    int
}

func (o *oneAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	o.asked++
	header := http.Header{}
	header.Set("X-Auth-Token", "token-of-the-session")
	if o.location != "" {
		header["Location"] = []string{o.location}
	}
	return &http.Response{StatusCode: o.status, Header: header, Body: io.NopCloser(strings.NewReader(o.body)), Request: r}, nil
}

// FuzzAnswers lets a hostile BMC say anything: every call must end, soon, with a clean error or none, and with no secret in it.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		"", "{}", "[]", "null", `"x"`, strings.Repeat("[", 5000),
		`{"Systems":{"@odata.id":"/s"},"Links":{"Sessions":{"@odata.id":"/l"},"ManagedBy":[{"@odata.id":"/m"},{"@odata.id":"//x"}]},"Members":[{"@odata.id":"/s/1"}],"Members@odata.nextLink":"/s"}`,
		`{"Systems":{"@odata.id":"/s"},"Members":[{"@odata.id":"/s/1"}],"PowerState":"Off","Boot":{"BootSourceOverrideTarget":"Pxe","BootSourceOverrideEnabled":"Once","BootSourceOverrideMode":null},` +
			`"Actions":{"#ComputerSystem.Reset":{"target":"/r","@Redfish.ActionInfo":"/i"},"#VirtualMedia.EjectMedia":{"target":"/e"}},"VirtualMedia":{"@odata.id":"/v"},"MediaTypes":["CD"],"Inserted":true,"Image":"x.iso","@odata.etag":"W/\"1\"",` +
			`"TaskState":"Running","@Redfish.Settings":{"SettingsObject":{"@odata.id":"/t"}}}`,
		`{"error":{"code":"Base.1.0.X","message":"s3cret&\"pass/word","@Message.ExtendedInfo":[{"MessageId":"a.b","Message":"\u001b[31m","Severity":"Critical"}]}}`,
		`{"Systems":{"@odata.id":"/redfish/v1/Systems"},"Members":[{"@odata.id":""},{"@odata.id":"%zz"}],"PowerState":7}`,
	} {
		for _, status := range []int{200, 202, 204, 400, 401, 412, 503} {
			f.Add(status, "/task", body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, location, body string) {
		if status < 200 || status > 599 {
			return
		}
		c := &Client{where: "192.0.2.1", base: "https://192.0.2.1", username: "user", timeout: 20 * time.Millisecond,
			pace: pace{request: 10 * time.Millisecond, poll: time.Millisecond, settle: 3 * time.Millisecond}}
		o := &oneAnswer{status, location, body, 0}
		v := &visit{Client: c, http: &http.Client{Transport: o, CheckRedirect: stayHere}, secret: fakePassword}
		v.hide(fakePassword)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
		defer cancel()
		_ = v.login(ctx)
		v.path = "/redfish/v1/Systems/1"
		_, found := v.findSystem(ctx)
		_, disk := v.bootsFromDisk(ctx)
		for _, err := range []error{
			found, disk, v.monitor(ctx), v.switchTo(ctx, power.On, "On"), v.bootRescue(ctx, fakeISO), v.bootRescue(ctx, ""), v.bootDisk(ctx),
		} {
			var e *power.Error
			if err == nil {
				continue
			}
			if !errors.As(err, &e) || e.Signature == "" || e.Class == recovery.Succeeded || e.Class == "" {
				t.Errorf("%#v is no error of ours", err)
			} else if len([]rune(e.Detail)) > maxDetail+1 || recovery.Clean(e.Detail, maxDetail+1) != e.Detail || strings.Contains(e.Detail, fakePassword) {
				t.Errorf("the detail is not clean: %q", e.Detail)
			}
		}
		v.logout(ctx)
		if took := time.Since(began); took > 2*time.Second || o.asked > 5000 {
			t.Errorf("%d requests in %v", o.asked, took)
		}
	})
}
