package restore

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	pgManifestName = "backup_manifest"
	pgLabelName    = "backup_label"
	pgWAL          = "pg_wal"
	maxManifest    = 1 << 29 // bytes of a manifest: some millions of files
)

// pgBase is a finished base backup, by its manifest. pg_basebackup gives the manifest its name last, so a backup without one is not
// finished.
type pgBase struct {
	dir        string
	files      []pgFile
	size       int64 // of all files
	timeline   uint32
	start, end pgLSN     // the logs that it cannot do without
	takenAt    time.Time // by when it had begun
}

// pgFile is a file of a base backup.
type pgFile struct {
	Path      string `json:"Path"`
	Encoded   string `json:"Encoded-Path"` // instead of Path, in hexadecimal, when that is not UTF-8
	Size      int64  `json:"Size"`
	Modified  string `json:"Last-Modified"`
	Algorithm string `json:"Checksum-Algorithm"`
	Checksum  string `json:"Checksum"`
}

// errManifest says that a manifest is there, and bad.
var errManifest = errors.New("its backup_manifest is damaged")

// readBase reads what the manifest of the base backup in dir says; fs.ErrNotExist when there is none.
func readBase(dir string) (*pgBase, error) {
	f, err := os.Open(filepath.Join(dir, pgManifestName))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, err
	}
	var m struct {
		Files  []pgFile `json:"Files"`
		Ranges []struct {
			Timeline uint32 `json:"Timeline"`
			Start    string `json:"Start-LSN"`
			End      string `json:"End-LSN"`
		} `json:"WAL-Ranges"`
		Checksum string `json:"Manifest-Checksum"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: it cannot be read", errManifest)
	}
	body := text[:max(0, bytes.LastIndex(text, []byte(`"Manifest-Checksum"`)))]
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != m.Checksum {
		return nil, fmt.Errorf("%w: its own checksum does not hold", errManifest)
	}
	b := &pgBase{dir: dir, files: m.Files}
	for i := range b.files {
		if err := b.take(&b.files[i]); err != nil {
			return nil, fmt.Errorf("%w: %w", errManifest, err)
		}
	}
	if len(m.Ranges) == 0 || b.takenAt.IsZero() {
		return nil, fmt.Errorf("%w: it names no logs or no %s", errManifest, pgLabelName)
	}
	last := m.Ranges[len(m.Ranges)-1]
	b.timeline = last.Timeline
	if b.start, err = parseLSN(m.Ranges[0].Start); err == nil {
		b.end, err = parseLSN(last.End)
	}
	if err != nil || b.end < b.start {
		return nil, fmt.Errorf("%w: its range of logs is none", errManifest)
	}
	return b, nil
}

// take adds a file of the manifest.
func (b *pgBase) take(f *pgFile) error {
	if f.Encoded != "" {
		path, err := hex.DecodeString(f.Encoded)
		if err != nil {
			return err
		}
		f.Path = string(path)
	}
	if !filepath.IsLocal(f.Path) || f.Size < 0 {
		return fmt.Errorf("it names the file %.100q", f.Path)
	}
	b.size += f.Size
	if f.Path != pgLabelName {
		return nil
	}
	// The time within backup_label is local time of a zone that only an abbreviation names; the manifest's is GMT.
	at, err := time.Parse("2006-01-02 15:04:05 GMT", f.Modified)
	b.takenAt = at.Add(time.Second) // it is cut to seconds, and what was not done yet then must not count as done
	return err
}

// finishedAt is when the backup was complete, which is the first moment that it can be restored to: its start, and how long it took by
// the history file that the server archives with the logs. Both times in that file are local, so only what lies between them counts.
func (b *pgBase) finishedAt(logs *pgLogs) time.Time {
	name := fmt.Sprintf("%s.%08X.backup", logs.name(b.timeline, uint64(b.start)/uint64(logs.size)), uint64(b.start)%uint64(logs.size))
	text, err := os.ReadFile(filepath.Join(logs.archive, name))
	if err != nil {
		return b.takenAt
	}
	started, zone1, ok1 := labelTime(text, "START TIME: ")
	stopped, zone2, ok2 := labelTime(text, "STOP TIME: ")
	if !ok1 || !ok2 || zone1 != zone2 || stopped.Before(started) {
		return b.takenAt
	}
	return b.takenAt.Add(stopped.Sub(started))
}

func labelTime(text []byte, key string) (at time.Time, zone string, ok bool) {
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), key); found && len(value) > len(time.DateTime) {
			at, err := time.Parse(time.DateTime, value[:len(time.DateTime)])
			return at, value[len(time.DateTime):], err == nil
		}
	}
	return time.Time{}, "", false
}

// newSum is a hash of the kind that the manifest has for the file; nil when it has none.
func (f *pgFile) newSum() (hash.Hash, error) {
	switch f.Algorithm {
	case "":
		return nil, nil //nolint:nilnil // nothing to check by is what nil says
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli)), nil
	case "SHA224":
		return sha256.New224(), nil
	case "SHA256":
		return sha256.New(), nil
	case "SHA384":
		return sha512.New384(), nil
	case "SHA512":
		return sha512.New(), nil
	default:
		return nil, fmt.Errorf("the checksum of %.100q is of an unknown kind, %.20q", f.Path, f.Algorithm)
	}
}

// holds compares what was read with what the manifest says.
func (f *pgFile) holds(sum hash.Hash) bool {
	if sum == nil {
		return true
	}
	got := sum.Sum(nil)
	if f.Algorithm == "CRC32C" { // written as it lies in the memory of the machine
		binary.NativeEndian.PutUint32(got, binary.BigEndian.Uint32(got))
	}
	return strings.EqualFold(hex.EncodeToString(got), f.Checksum)
}

// pgLSN is a place in the logs.
type pgLSN uint64

func parseLSN(s string) (pgLSN, error) {
	high, low, _ := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	return pgLSN(h<<32 | l), errors.Join(err1, err2)
}
