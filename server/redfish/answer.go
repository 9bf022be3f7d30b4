package redfish

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxDetail = 500 // characters of an error's sentence
	maxSaid   = 200 // characters of a BMC's own words in it
)

// answer is what came back, read in full.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) ok() bool { return a.status >= 200 && a.status < 300 }

// wantsETag reports whether the change was refused for its ETag.
func (a *answer) wantsETag() bool {
	return a.status == http.StatusPreconditionFailed || a.status == http.StatusPreconditionRequired
}

// dislikes reports whether the change was refused for what it said, so that other words may do.
func (a *answer) dislikes() bool {
	switch a.status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusNotImplemented:
		return true
	}
	return false
}

// etag is the version of the resource, as the header or the body says it.
func (a *answer) etag() string {
	if etag := a.header.Get("ETag"); etag != "" {
		return etag
	}
	var body struct {
		ETag string `json:"@odata.etag"`
	}
	_ = json.Unmarshal(a.body, &body)
	if strings.ContainsFunc(body.ETag, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return body.ETag
}

// decode reads the body of a good answer; into may be nil.
func (v *visit) decode(a *answer, into any) error {
	if !a.ok() {
		return v.complain(a, "reading")
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return v.fail(recovery.Failed, "answer not understood", "The BMC at %s answers with something that is not Redfish: %v; look at its Redfish service.", v.where, err)
	}
	return nil
}

// message is one entry of @Message.ExtendedInfo.
type message struct {
	ID       string `json:"MessageId"`
	Text     string `json:"Message"`
	Severity string `json:"Severity"`
	Newer    string `json:"MessageSeverity"`
}

func (m message) harmless() bool { return m.Severity == "OK" || m.Newer == "OK" }

// said returns the message that explains a refusal, the zero message if none does.
func said(body []byte) message {
	var in struct {
		Error struct {
			Code    string    `json:"code"`
			Message string    `json:"message"`
			Info    []message `json:"@Message.ExtendedInfo"`
		} `json:"error"`
		Info     []message `json:"@Message.ExtendedInfo"`
		Messages []message `json:"Messages"` // of a task
	}
	_ = json.Unmarshal(body, &in) // as far as it goes
	all := append(append(in.Error.Info, in.Info...), in.Messages...)
	for _, m := range all {
		if !m.harmless() && m.Text != "" {
			return m
		}
	}
	if in.Error.Message != "" {
		return message{ID: in.Error.Code, Text: in.Error.Message}
	}
	if len(all) > 0 {
		return all[0]
	}
	return message{}
}

// complain turns a refusal of what was asked for into an error.
func (v *visit) complain(a *answer, asked string) error {
	m := said(a.body)
	because := ""
	if m.Text != "" {
		because = ", saying “" + recovery.Clean(v.scrub(m.Text), maxSaid) + "”"
	}
	switch a.status {
	case http.StatusUnauthorized:
		return v.fail(recovery.AuthRefused, "login refused", "The BMC at %s does not accept the user %q with its password%s; check both before its lockout does.", v.where, v.username, because)
	case http.StatusForbidden:
		return v.fail(recovery.AuthRefused, "not allowed", "The BMC at %s refuses %s to the user %q%s; give the account the right to it.", v.where, asked, v.username, because)
	case http.StatusServiceUnavailable:
		return v.fail(recovery.Failed, "BMC busy", "The BMC at %s has no time for %s%s; try again, or restart the BMC.", v.where, asked, because)
	default:
		signature := fmt.Sprintf("BMC answers %d", a.status)
		if id := messageID(m.ID); id != "" {
			signature += ": " + id
		}
		return v.fail(recovery.Failed, signature, "The BMC at %s refuses %s with status %d%s.", v.where, asked, a.status, because)
	}
}

// messageID is the last part of a message's id ("Base.1.8.ActionNotSupported"), if it is a plain word.
func messageID(id string) string {
	id = id[strings.LastIndexByte(id, '.')+1:]
	if len(id) > 60 || strings.ContainsFunc(id, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') }) {
		return ""
	}
	return id
}

// fail makes the visit's errors: one sentence, cleaned, without anything that is hidden.
func (v *visit) fail(class recovery.Class, signature, format string, args ...any) error {
	return &power.Error{Class: class, Signature: v.scrub(signature), Detail: recovery.Clean(v.scrub(fmt.Sprintf(format, args...)), maxDetail)}
}

func (v *visit) scrub(text string) string {
	for _, hidden := range v.hidden {
		text = strings.ReplaceAll(text, hidden, "…")
	}
	return text
}
