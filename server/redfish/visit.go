package redfish

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// link is how Redfish names another resource.
type link struct {
	ID string `json:"@odata.id"`
}

// root is the service root.
type root struct {
	Systems  link `json:"Systems"`
	Managers link `json:"Managers"`
	Links    struct {
		Sessions link `json:"Sessions"`
	} `json:"Links"`
}

// visit is one call: a login, what is done with it, and the logout.
type visit struct {
	*Client
	http   *http.Client
	root   root
	path   string   // of the system
	secret string   // the password
	token  string   // of the session, or empty for basic authentication
	basic  bool     // send name and password with every request
	exit   string   // path of the session, to be deleted
	wrote  bool     // something may have been changed
	hidden []string // never in an error
}

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// goodbye bounds the logout, which comes after the call's deadline.
const goodbye = 5 * time.Second

// visit logs in, finds the system, lets do act, and logs out.
func (c *Client) visit(ctx context.Context, do func(context.Context, *visit) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	v := &visit{Client: c}
	secret, err := power.ReadSecret(c.password)
	if err != nil {
		return v.fail(recovery.Failed, "password not readable", "The password for the BMC at %s cannot be had: %v.", c.where, err)
	}
	v.secret = secret
	v.hide(secret, c.username+":"+secret)
	transport := newTransport(c.tls)
	defer transport.CloseIdleConnections()
	v.http = &http.Client{Transport: transport, CheckRedirect: stayHere}
	if err := v.login(ctx); err != nil {
		return err
	}
	defer v.logout(ctx)
	if v.path, err = v.findSystem(ctx); err != nil {
		return err
	}
	return do(ctx, v)
}

// newTransport connects straight to the address, whatever proxies the environment names.
func newTransport(trust *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{}).DialContext,
		TLSClientConfig:        trust.Clone(),
		DisableCompression:     true, // so that what is bounded is what was sent
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        1,
	}
}

// hide keeps texts out of every error of the visit, in every form in which a BMC might send them back.
func (v *visit) hide(texts ...string) {
	for _, text := range texts {
		for _, form := range []string{text, recovery.Clean(text, len(text)), url.QueryEscape(text), url.PathEscape(text), base64.StdEncoding.EncodeToString([]byte(text))} {
			if form != "" {
				v.hidden = append(v.hidden, form)
			}
		}
	}
	slices.SortStableFunc(v.hidden, func(a, b string) int { return len(b) - len(a) }) // what holds another goes first
}

// login opens a session. Where the BMC has none to give, name and password go with every request instead.
func (v *visit) login(ctx context.Context) error {
	a, err := v.send(ctx, http.MethodGet, "/redfish/v1/", nil, "")
	if err != nil {
		return err
	}
	if a.status == http.StatusUnauthorized { // it should need no login, but here it does
		v.basic = true
		if a, err = v.send(ctx, http.MethodGet, "/redfish/v1/", nil, ""); err != nil {
			return err
		}
	}
	if err := v.decode(a, &v.root); err != nil {
		return err
	}
	if v.root.Systems.ID == "" {
		return v.fail(recovery.Failed, "no Redfish service", "What answers at %s is no Redfish service that knows systems; check the option url.", v.where)
	}
	if v.basic || v.root.Links.Sessions.ID == "" {
		v.basic = true
		return nil
	}
	return v.openSession(ctx)
}

func (v *visit) openSession(ctx context.Context) error {
	sessions, err := v.local(v.root.Links.Sessions.ID)
	if err != nil {
		return err
	}
	a, err := v.send(ctx, http.MethodPost, sessions, map[string]string{"UserName": v.username, "Password": v.secret}, "")
	if err != nil {
		return err
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return v.complain(a, "the login") // a second try would only count towards a lockout
	}
	v.token = a.header.Get("X-Auth-Token")
	if !a.ok() || v.token == "" { // no session service, or no session free
		v.basic = true
		return nil
	}
	v.hide(v.token)
	var session link
	_ = v.decode(a, &session) // the header says it too
	place := a.header.Get("Location")
	if place == "" {
		place = session.ID
	}
	if place != "" {
		v.exit, err = v.local(place)
	}
	return err
}

// logout gives the session back; BMCs have only a few. There is nobody to tell when it fails: the BMC ends it by itself.
func (v *visit) logout(ctx context.Context) {
	if v.exit == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_, _ = v.once(ctx, http.MethodDelete, v.exit, nil, "")
}

// wait waits, and reports whether there is time left for more than that.
func (v *visit) wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stopped is the error of a call that its caller has given up, nil if its time is only over.
func (v *visit) stopped(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return v.broken(ctx, ctx.Err())
	}
	return nil
}

// agreeing is how many looks in a row must show the same: a BMC that is changing its mind says now this, now that.
const agreeing = 2

// until looks again and again whether done holds, for about limit. It returns false when it did not come to hold.
func (v *visit) until(ctx context.Context, limit time.Duration, done func() (bool, error)) (bool, error) {
	end, agreed := time.Now().Add(limit), 0
	for {
		yes, err := done()
		if err != nil {
			return false, err
		}
		if agreed++; !yes {
			agreed = 0
		}
		if agreed == agreeing {
			return true, nil
		}
		if agreed == 0 && time.Now().After(end) || !v.wait(ctx, v.pace.poll) {
			return false, v.stopped(ctx)
		}
	}
}

// member returns the last part of a resource's path, which is its id.
func member(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}
