package redfish

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxAnswer = 1 << 20 // bytes of one answer's body
	busyTries = 4       // of a request that the BMC has no time for
	maxRetry  = 10 * time.Second
)

var errElsewhere = errors.New("redirected elsewhere")

// stayHere follows a redirect only to the same address, and only of a question.
func stayHere(next *http.Request, before []*http.Request) error {
	first := before[0]
	if next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host || first.Method != http.MethodGet || len(before) > 3 {
		return errElsewhere
	}
	return nil
}

// local turns what a BMC calls a link into a path on this BMC, whatever host it names.
func (v *visit) local(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") {
		return "", v.fail(recovery.Failed, "broken link", "The BMC at %s names a resource “%s”, which is no path; its Redfish service is broken.", v.where, text)
	}
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path, nil
}

// get reads the resource that a link names.
func (v *visit) get(ctx context.Context, at string, into any) (*answer, error) {
	path, err := v.local(at)
	if err != nil {
		return nil, err
	}
	a, err := v.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, err
	}
	return a, v.decode(a, into)
}

// maybe reads a resource that need not be there, or not for this account: it reports whether it is.
func (v *visit) maybe(ctx context.Context, at string, into any) (*answer, bool, error) {
	path, err := v.local(at)
	if err != nil {
		return nil, false, err
	}
	a, err := v.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, false, err
	}
	switch a.status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented:
		return nil, false, nil
	}
	return a, true, v.decode(a, into)
}

// change posts or patches, and waits for the task where the BMC makes one of it. The answer may be a refusal.
func (v *visit) change(ctx context.Context, method, at string, body any, etag string) (*answer, error) {
	path, err := v.local(at)
	if err != nil {
		return nil, err
	}
	v.wrote = true
	a, err := v.send(ctx, method, path, body, etag)
	if err != nil || a.status != http.StatusAccepted {
		return a, err
	}
	return v.task(ctx, a)
}

// patch sends a change of the resource whose answer to a GET was before. The BMC takes it only if nobody else has changed the
// resource since, where it knows ETags at all.
func (v *visit) patch(ctx context.Context, at string, before *answer, body any) (*answer, error) {
	a, err := v.change(ctx, http.MethodPatch, at, body, before.etag())
	if err != nil || !a.wantsETag() {
		return a, err
	}
	fresh, err := v.get(ctx, at, nil)
	if err != nil {
		return nil, err
	}
	tried := before.etag()
	for _, etag := range []string{fresh.etag(), strings.TrimPrefix(fresh.etag(), "W/"), "*", ""} { // some compare them wrongly
		if etag == tried {
			continue
		}
		tried = etag
		if a, err = v.change(ctx, http.MethodPatch, at, body, etag); err != nil || !a.wantsETag() {
			return a, err
		}
	}
	return a, nil
}

// offer sends one body after the other until the BMC takes one or refuses for another reason than the body: BMCs differ in which
// properties they want and which they cannot bear.
func (v *visit) offer(ctx context.Context, at string, bodies ...any) (*answer, error) {
	var a *answer
	for _, body := range bodies {
		var err error
		if a, err = v.change(ctx, http.MethodPost, at, body, ""); err != nil || !a.dislikes() {
			return a, err
		}
	}
	return a, nil
}

// send makes one request, and again when the BMC has no time.
func (v *visit) send(ctx context.Context, method, path string, body any, etag string) (*answer, error) {
	for try := 1; ; try++ {
		a, err := v.once(ctx, method, path, body, etag)
		if err != nil || a.status != http.StatusServiceUnavailable || try == busyTries || !v.wait(ctx, a.retryAfter(v.pace.poll)) {
			return a, err
		}
	}
}

func (v *visit) once(ctx context.Context, method, path string, body any, etag string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, v.pace.request)
	defer cancel()
	var text io.Reader
	if body != nil {
		form, err := json.Marshal(body)
		if err != nil {
			return nil, v.fail(recovery.Failed, "request not made", "The request to the BMC at %s cannot be written: %v.", v.where, err)
		}
		text = bytes.NewReader(form)
	}
	request, err := http.NewRequestWithContext(ctx, method, v.base+path, text)
	if err != nil {
		return nil, v.fail(recovery.Failed, "request not made", "The request to the BMC at %s cannot be made: its path is broken.", v.where)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("OData-Version", "4.0")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		request.Header.Set("If-Match", etag)
	}
	switch {
	case v.token != "":
		request.Header.Set("X-Auth-Token", v.token)
	case v.basic:
		request.SetBasicAuth(v.username, v.secret)
	}
	response, err := v.http.Do(request)
	if err != nil {
		return nil, v.broken(ctx, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, v.broken(ctx, err)
	}
	if len(content) > maxAnswer {
		return nil, v.fail(recovery.Failed, "answer too large", "The BMC at %s answers with more than %d bytes; look at its Redfish service.", v.where, maxAnswer)
	}
	return &answer{status: response.StatusCode, header: response.Header, body: content}, nil
}

// broken says why a request got no answer.
func (v *visit) broken(ctx context.Context, err error) error {
	var certificate *errCertificate
	var unverified *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dial *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.Canceled) && v.wrote:
		return v.fail(recovery.Lost, "stopped", "The call was stopped while the BMC at %s was changing something; read its state.", v.where)
	case errors.Is(ctx.Err(), context.Canceled):
		return v.fail(recovery.Cancelled, "stopped", "The call was stopped before the BMC at %s was asked to change anything.", v.where)
	case errors.As(err, &certificate):
		return v.fail(recovery.HostKeyMismatch, "wrong certificate", "The BMC at %s shows a certificate with the SHA-256 fingerprint %s, which is not the one in the fleet file; "+
			"it may be another machine, or the BMC has a new certificate: compare it at its console.", v.where, certificate.shown)
	case errors.As(err, &unverified):
		return v.fail(recovery.HostKeyMismatch, "wrong certificate", "The certificate of the BMC at %s does not hold: %v; "+
			"it may be another machine: compare it, then give the option ca, name or fingerprint.", v.where, unverified.Err)
	case errors.Is(err, errElsewhere):
		return v.fail(recovery.Failed, "redirected elsewhere", "The BMC at %s sends us to another address, where our password has no business; correct the option url.", v.where)
	case errors.As(err, &dial) && dial.Op == "dial":
		return v.fail(recovery.Unreachable, "no connection", "The BMC at %s takes no connection: %v; check its address, its network and its power.", v.where, cause(err))
	case errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch):
		return v.fail(recovery.Failed, "no TLS", "What answers at %s does not speak TLS; check the option url.", v.where)
	case ctx.Err() != nil || timeout(err):
		return v.fail(recovery.TimedOut, "no answer in time", "The BMC at %s takes connections and does not answer in time; it may be overloaded: try again, or restart the BMC.", v.where)
	default:
		return v.fail(recovery.Unreachable, "connection broken", "The connection to the BMC at %s broke: %v; try again.", v.where, cause(err))
	}
}

// cause is the innermost error, which holds no URL.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// retryAfter is how long the BMC asks to be left alone, within reason.
func (a *answer) retryAfter(least time.Duration) time.Duration {
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > int(maxRetry/time.Second) {
		return least
	}
	return max(least, time.Duration(seconds)*time.Second)
}
