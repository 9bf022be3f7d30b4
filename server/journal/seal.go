package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// A sealed value is JSON with a fixed beginning, so that the hash's input can be cut out by position in any language:
//
//	{"hash":"<64 hexadecimal digits>","entry":<body>}
//
// The hash is the SHA-256 of the body's bytes as they stand there: no parsing, no reordering, no re-encoding.
const (
	sealStart  = `{"hash":"`
	sealMiddle = `","entry":`
	sealEnd    = `}`
	bodyAt     = len(sealStart) + 2*sha256.Size + len(sealMiddle)
)

// envelope is the body of an entry. Prev is the hash of the entry before; the first entry's Prev is the SHA-256 of the
// incident's id. Fields are only ever added, at the end.
type envelope struct {
	Seq   uint64          `json:"seq"`
	At    string          `json:"at"` // RFC 3339 with nanoseconds, UTC
	Actor string          `json:"actor"`
	Kind  string          `json:"kind"`
	Prev  string          `json:"prev"`
	Data  json.RawMessage `json:"data"` // as recovery.EncodeEvent wrote it
}

// head is the body of an incident's head record.
type head struct {
	Seq     uint64 `json:"seq"`
	Hash    string `json:"hash"`
	Created int    `json:"created"` // 1 for the file's first incident, and so on
}

func seal(body []byte) []byte {
	v := make([]byte, bodyAt, bodyAt+len(body)+len(sealEnd))
	return sealed(append(v, body...))
}

// sealed seals in place what stands behind the first bodyAt bytes of v, which are its own to fill.
func sealed(v []byte) []byte {
	sum := sha256.Sum256(v[bodyAt:])
	b := append(v[:0], sealStart...)
	b = hex.AppendEncode(b, sum[:])
	_ = append(b, sealMiddle...)
	return append(v, sealEnd...)
}

// sealedHash is the hash that a sealed value carries.
func sealedHash(v []byte) string { return string(v[len(sealStart) : bodyAt-len(sealMiddle)]) }

// unseal returns the body and its hash. Every byte of the value is checked.
func unseal(v []byte) (body []byte, hash string, err error) {
	if len(v) < bodyAt+len(sealEnd) ||
		string(v[:len(sealStart)]) != sealStart ||
		string(v[bodyAt-len(sealMiddle):bodyAt]) != sealMiddle ||
		string(v[len(v)-len(sealEnd):]) != sealEnd {
		return nil, "", errors.New("it is not a sealed value")
	}
	body = v[bodyAt : len(v)-len(sealEnd)]
	sum := sha256.Sum256(body)
	hash = hex.EncodeToString(sum[:])
	if string(v[len(sealStart):len(sealStart)+2*sha256.Size]) != hash {
		return nil, "", errors.New("its hash does not match: it was altered")
	}
	return body, hash, nil
}

func sealJSON(body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return seal(b), nil
}

func unsealJSON(v []byte, into any) error {
	body, _, err := unseal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// hashOf is the hash that the first entry of an incident has as its Prev.
func hashOf(incident string) string {
	sum := sha256.Sum256([]byte(incident))
	return hex.EncodeToString(sum[:])
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// keySeq returns the number in an entry's key, 0 when it is no such key.
func keySeq(k []byte) uint64 {
	if len(k) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k)
}

// newEnvelope turns an entry into an envelope without its Prev.
func newEnvelope(e recovery.Entry) (envelope, error) {
	if e.Event == nil {
		return envelope{}, errors.New("it has no event")
	}
	if e.Actor == "" || !utf8.ValidString(e.Actor) {
		return envelope{}, fmt.Errorf("its actor %q is not a name", e.Actor)
	}
	at := e.At.UTC()
	if y := at.Year(); y < 1 || y > 9999 {
		return envelope{}, fmt.Errorf("its time has the year %d", y)
	}
	kind := e.Event.Kind()
	if err := readable(kind); err != nil {
		return envelope{}, fmt.Errorf("it could not be read again: %w", err)
	}
	data, err := recovery.EncodeEvent(e.Event)
	if err != nil {
		return envelope{}, fmt.Errorf("event %s: %w", kind, err)
	}
	return envelope{Seq: e.Seq, At: at.Format(time.RFC3339Nano), Actor: e.Actor, Kind: kind, Data: data}, nil
}

// readableKinds are the kinds of event that were found to be readable.
var readableKinds sync.Map

// readable refuses a kind of event that could be written and not read again.
func readable(kind string) error {
	if _, ok := readableKinds.Load(kind); ok {
		return nil
	}
	if _, err := recovery.DecodeEvent(kind, []byte("{}")); err != nil {
		return err
	}
	readableKinds.Store(kind, true)
	return nil
}

// seal writes the envelope as json.Marshal would, and seals it. Its Data is not read again to do so: it comes from EncodeEvent.
func (v envelope) seal() []byte {
	b := make([]byte, bodyAt, bodyAt+len(v.Actor)+len(v.Kind)+len(v.Data)+256)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, v.Seq, 10)
	b = appendText(append(b, `,"at":`...), v.At)
	b = appendText(append(b, `,"actor":`...), v.Actor)
	b = appendText(append(b, `,"kind":`...), v.Kind)
	b = appendText(append(b, `,"prev":`...), v.Prev)
	b = append(append(b, `,"data":`...), v.Data...)
	return sealed(append(b, '}'))
}

// appendText appends a text as json.Marshal would.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // a string can always be written
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// entry turns an envelope back.
func (v envelope) entry() (recovery.Entry, error) {
	at, err := time.Parse(time.RFC3339Nano, v.At)
	if err != nil {
		return recovery.Entry{}, fmt.Errorf("its time %q is not one", v.At)
	}
	ev, err := recovery.DecodeEvent(v.Kind, v.Data)
	if err != nil {
		return recovery.Entry{}, err
	}
	return recovery.Entry{Seq: v.Seq, At: at.UTC(), Actor: v.Actor, Event: ev}, nil
}

// openEnvelope unseals an entry's value and checks that it is number seq and follows the entry with hash prev.
func openEnvelope(value []byte, seq uint64, prev string) (v envelope, hash string, err error) {
	body, hash, err := unseal(value)
	if err != nil {
		return envelope{}, "", err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return envelope{}, "", fmt.Errorf("it is not an entry: %w", err)
	}
	switch {
	case v.Seq != seq:
		return envelope{}, "", fmt.Errorf("entry %d stands in its place", v.Seq)
	case v.Prev != prev:
		return envelope{}, "", errors.New("it does not follow from the entry before: one of the two was replaced")
	}
	return v, hash, nil
}
