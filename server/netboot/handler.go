package netboot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxURI   = 2048     // bytes of a request's target
	maxHello = 64 << 10 // bytes of a rescue system's word

	noBoot = "no such boot\n" // of a token: the same whether it is wrong or too old
)

// route finds the one answer for a path. Paths are taken literally: nothing is decoded, cleaned or redirected.
func (s *Service) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.Path
	switch {
	case len(r.RequestURI) > maxURI:
		http.Error(w, "too long", http.StatusRequestURITooLong)
	case r.URL.EscapedPath() != path:
		http.NotFound(w, r)
	case path == "/boot.ipxe":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			text(w, bootScript(s.cfg.URL))
		}
	case path == "/host.ipxe":
		if allowed(w, r, http.MethodGet) {
			s.hostScript(w, r)
		}
	case path == "/seed":
		if allowed(w, r, http.MethodGet) {
			s.seedByIdentity(w, r)
		}
	case path == "/"+isoFile:
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			s.send(w, r, isoFile, "peer", peer(r))
		}
	case strings.HasPrefix(path, "/rescue/"):
		token, what, _ := strings.Cut(strings.TrimPrefix(path, "/rescue/"), "/")
		s.rescue(w, r, token, what)
	default:
		http.NotFound(w, r)
	}
}

// rescue answers whoever has a token.
func (s *Service) rescue(w http.ResponseWriter, r *http.Request, token, what string) {
	b, err := s.boots.find(token)
	if err != nil {
		s.refuse(r, b, what, err)
		http.Error(w, noBoot, http.StatusNotFound)
		return
	}
	switch what {
	case kernelFile, initrdFile:
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			s.send(w, r, what, "host", b.Host, "attempt", b.Attempt, "incident", b.Incident, "peer", peer(r))
		}
	case "seed":
		if allowed(w, r, http.MethodGet) {
			s.giveSeed(w, r, b)
		}
	case "hello":
		if allowed(w, r, http.MethodPost) {
			s.hello(w, r, b)
		}
	default:
		http.NotFound(w, r)
	}
}

// hostScript answers every machine with a script: the rescue system only for a host that is wanted there, else its own disk.
func (s *Service) hostScript(w http.ResponseWriter, r *http.Request) {
	b, err := s.identified(r)
	if err != nil {
		text(w, localScript(err.Error()))
		return
	}
	s.log.Info("a host boots into the rescue system", "host", b.Host, "attempt", b.Attempt, "incident", b.Incident, "peer", peer(r))
	text(w, rescueScript(s.cfg.URL, b.token, b.Host))
}

// seedByIdentity gives the seed to a rescue image that was booted without us.
func (s *Service) seedByIdentity(w http.ResponseWriter, r *http.Request) {
	b, err := s.identified(r)
	switch {
	case errors.Is(err, errBadIdentity):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, recovery.Clean(err.Error(), maxLine), http.StatusForbidden)
	default:
		s.giveSeed(w, r, b)
	}
}

// identified finds the host whose machine asks, and asks whether it is wanted in rescue. The error says why not; it is logged.
func (s *Service) identified(r *http.Request) (*boot, error) {
	id, err := parseIdentity(r.URL.RawQuery)
	if err != nil {
		s.sparsely("unreadable "+peer(r), "a machine's identity cannot be read, so it gets no rescue system", "error", err, "peer", peer(r))
		return nil, err
	}
	host, err := s.hosts.find(id)
	switch {
	case errors.Is(err, errUnknown):
		s.sparsely("unknown "+strings.Join(id.macs, " ")+id.uuid, "an unknown machine boots from the network and gets no rescue system",
			"mac", strings.Join(id.macs, " "), "uuid", id.uuid, "peer", peer(r))
		return nil, err
	case err != nil:
		s.sparsely("conflict "+err.Error(), "a machine could be more than one host and gets no rescue system: correct mac and uuid in the fleet file",
			"error", err, "mac", strings.Join(id.macs, " "), "uuid", id.uuid, "peer", peer(r))
		return nil, err
	}
	b, err := s.wanted(r.Context(), host, peer(r))
	if err != nil {
		if ok, missed := s.seldom.allow("local " + host + " " + err.Error()); ok {
			s.log.Info("a host boots from the network and gets no rescue system", "host", host, "why", recovery.Clean(err.Error(), maxLine), "peer", peer(r), "not-shown", missed)
		}
		return nil, err
	}
	return b, nil
}

// giveSeed hands out the seed, once for each attempt whatever becomes of the connection.
func (s *Service) giveSeed(w http.ResponseWriter, r *http.Request, b *boot) {
	seed, err := s.seed(b)
	if err != nil {
		s.log.Error("a seed cannot be made", "host", b.Host, "attempt", b.Attempt, "error", err)
		http.Error(w, "the seed cannot be made", http.StatusInternalServerError)
		return
	}
	if err := s.boots.takeSeed(b); err != nil {
		s.refuse(r, b, "seed", err)
		http.Error(w, err.Error(), http.StatusGone)
		return
	}
	s.log.Info("a rescue system gets its seed", "host", b.Host, "attempt", b.Attempt, "incident", b.Incident, "peer", peer(r))
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(seed) // a machine that is gone is found out by its silence
}

// send sends a file of the rescue image, or a range of it; whose says in the log to whom.
func (s *Service) send(w http.ResponseWriter, r *http.Request, name string, whose ...any) {
	file, err := os.Open(filepath.Join(s.cfg.ImageDir, name))
	if name == isoFile && errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r) // the image was built without one
		return
	}
	if err != nil {
		s.sparsely("image "+name, "the rescue image cannot be read", append(whose, "error", err)...)
		http.Error(w, "the rescue image cannot be read", http.StatusServiceUnavailable)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		s.sparsely("image "+name, "the rescue image cannot be read", append(whose, "file", name, "error", err)...)
		http.Error(w, "the rescue image cannot be read", http.StatusServiceUnavailable)
		return
	}
	begin := time.Now()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(newPatient(w, s.cfg.Expires), r, "", info.ModTime(), file)
	if ok, missed := s.seldom.allow(fmt.Sprint("sent ", name, whose)); ok {
		s.log.Info("a part of the rescue image was sent", append(whose, "file", name, "took", time.Since(begin).Round(time.Millisecond), "not-shown", missed)...)
	}
}

// hello takes a rescue system's first word and every later one.
func (s *Service) hello(w http.ResponseWriter, r *http.Request, b *boot) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHello))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		http.Error(w, "longer than 64 KiB", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "broken off", http.StatusBadRequest)
		return
	}
	findings, first := s.boots.hello(b, string(body))
	if first {
		s.log.Info("a rescue system is up", "host", b.Host, "attempt", b.Attempt, "incident", b.Incident, "peer", peer(r), "findings", recovery.Clean(findings, 2000))
	} else if ok, missed := s.seldom.allow("hello " + b.Incident + " " + b.Attempt); ok {
		s.log.Info("a rescue system says more", "host", b.Host, "attempt", b.Attempt, "peer", peer(r), "findings", recovery.Clean(findings, 2000), "not-shown", missed)
	}
	text(w, "ok\n")
}

// refuse logs, in bounds, that somebody was refused who has a token or guesses one. b is nil where no attempt has it.
func (s *Service) refuse(r *http.Request, b *boot, what string, why error) {
	what = recovery.Clean(what, 20)
	if b == nil {
		s.sparsely("token "+peer(r), "somebody without a valid token asks for a rescue system's files", "what", what, "peer", peer(r))
		return
	}
	s.sparsely("refused "+b.Incident+" "+b.Attempt+" "+what, "a rescue system's file was asked for and refused", "what", what, "why", why,
		"host", b.Host, "attempt", b.Attempt, "peer", peer(r))
}

// sparsely warns, where the thing may be logged now.
func (s *Service) sparsely(thing, message string, values ...any) {
	if ok, missed := s.seldom.allow(thing); ok {
		s.log.Warn(message, append(values, "not-shown", missed)...)
	}
}

// allowed reports whether the request has one of the methods, and answers it if not.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, method := range methods {
		if r.Method == method {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "not allowed here", http.StatusMethodNotAllowed)
	return false
}

func text(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, body)
}

// peer is the IP address of whoever asks.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return recovery.Clean(r.RemoteAddr, 60)
	}
	return host
}
