// Package fleet reads the fleet file: which servers there are, what people use them for, in which order they come back and
// how each can be reached. The file is YAML that a person can write and read under pressure; schema and reader come from
// the same types (file.go), so that an editor and this package agree.
//
// Everything is refused that could mean something else than it seems: unknown and repeated keys, aliases and tags, values
// that cannot be parsed, names that nothing declares, orders that would deadlock. All problems are told at once, each with
// its place and with what to do.
package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

//go:generate go test -run ^TestSchemaIsFresh$ -update .

// What one fleet file may hold.
const (
	maxBytes      = 32 << 20
	maxDepth      = 30
	maxHosts      = 100_000
	maxItems      = 100_000   // in one list
	maxMembers    = 1_000_000 // over all groups
	maxTiers      = 100
	maxServices   = 10_000
	maxList       = 200 // needs of a service; groups and resources of a host
	maxJumps      = 8
	maxRungs      = 16
	maxControls   = 1000   // in power: or boot:
	maxParts      = 500    // entries of defaults-for
	maxCards      = 16     // MAC addresses of a host
	maxStores     = 200    // in repositories:
	maxPromises   = 200    // in backup-policies:
	maxSets       = 20_000 // data sets
	maxInvariants = 50     // of a data set
	maxWords      = 64     // of a command
)

// top is the place of what concerns the file as a whole.
var top = at{1, 1}

// Load reads the fleet file at path. What is wrong with its content comes back as Errors.
func Load(path string) (recovery.Fleet, error) {
	f, err := os.Open(path)
	if err != nil {
		return recovery.Fleet{}, fmt.Errorf("the fleet file cannot be opened: %w; check the path and its permissions", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return recovery.Fleet{}, fmt.Errorf("the fleet file cannot be read: %w; check that it is a file", err)
	}
	return Parse(path, data)
}

// Parse reads a fleet file's content; name is what problems call the file, and the path in whose folder the secrets' relative
// paths begin. Its error is always of type Errors.
func Parse(name string, data []byte) (recovery.Fleet, error) {
	r := &reader{problems: problems{file: name}}
	var entry fileEntry
	if node := r.document(data, writeFleet); node != nil {
		r.structure(node, reflect.ValueOf(&entry).Elem())
	}
	if len(r.list) > 0 && !entry.given() {
		return recovery.Fleet{}, r.err()
	}
	b := builder{problems: r.problems}
	fleet := b.fleet(&entry)
	if err := b.err(); err != nil {
		return recovery.Fleet{}, err
	}
	return fleet, nil
}

// writeFleet is what to do about an empty fleet file.
const writeFleet = "write fleet:, tiers: and hosts:"

// document parses the YAML into its one root node, or adds why not; write is what to do about an empty file.
func (r *reader) document(data []byte, write string) *yaml.Node {
	if len(data) > maxBytes {
		r.add(top, "split the estate, or use ranges", "the file is larger than %d MiB", maxBytes>>20)
		return nil
	}
	if !r.readable(data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		r.add(top, "report this", "the YAML reader did not start: %v", err)
		return nil
	}
	var doc, second yaml.Node
	err = loader.Load(&doc)
	if errors.Is(err, io.EOF) {
		r.add(top, write, "the file is empty")
		return nil
	}
	if err == nil {
		if err = loader.Load(&second); err == nil {
			r.add(position(&second), "remove the line --- and what follows", "a second document begins here")
			return nil
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || isNull(doc.Content[0]) {
		r.add(top, write, "the file is empty")
		return nil
	}
	root := doc.Content[0]
	if !r.plain(root) {
		return nil
	}
	return root
}

// readable finds bytes that no text file has.
func (r *reader) readable(data []byte) bool {
	line, start := 1, 0
	for i := 0; i < len(data); {
		c := data[i]
		switch {
		case c == '\n':
			line++
			start = i + 1
		case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
			r.add(at{line, i - start + 1}, "remove it", "the byte %#02x is a control character", c)
			return false
		}
		_, size := utf8.DecodeRune(data[i:])
		if c >= utf8.RuneSelf && size == 1 {
			r.add(at{line, i - start + 1}, "save the file as UTF-8", "the byte %#02x is not UTF-8", c)
			return false
		}
		i += size
	}
	return true
}

// syntax adds what the YAML parser stumbled over; after it nothing more can be read.
func (r *reader) syntax(err error) {
	where, message := top, err.Error()
	do := "check indentation, colons and quotes there"
	var load *yaml.LoadError
	if errors.As(err, &load) {
		where = at{load.Mark.Line, load.Mark.Column}
		message = load.Message
		if load.ContextMsg != "" {
			message += " (" + load.ContextMsg + ")"
		}
		if load.Mark.Line == 0 {
			where = at{max(load.ContextMark.Line, 1), max(load.ContextMark.Column, 1)}
		}
		if load.ContextMsg == "while parsing a flow mapping" || load.ContextMsg == "while parsing a flow sequence" {
			do = `quote values that hold brackets, as in {name: "app[01-24]"}`
		}
	}
	r.add(where, do, "this is not YAML: %s", message)
}
