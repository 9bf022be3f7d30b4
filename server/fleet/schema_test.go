package fleet

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "write fleet.schema.json anew")

const schemaFile = "fleet.schema.json"

// TestSchemaIsFresh compares fleet.schema.json with the types in file.go; `go generate` writes it.
func TestSchemaIsFresh(t *testing.T) {
	want, err := json.MarshalIndent(schema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Fatalf("%s does not match file.go; run: go generate ./server/fleet", schemaFile)
	}
}

// TestSchemaKnowsEveryKey guards against a type that the generator passes over: an object without properties would let
// an editor accept anything.
func TestSchemaKnowsEveryKey(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"fleet", "policy", "mass-silence", "tiers", "gate", "max-failed", "services", "needs", "up", "sites", "resources",
		"groups", "max-at-once", "members", "ladders", "host-keys", "reboot-command", "defaults", "hosts", "service", "addresses", "edr", "version",
		"power", "boot", "agent", "redfish", "options", "secrets", "at-once", "use", "defaults-for", "site", "group", "mac", "uuid", "within", "attach", "unlock",
		"repositories", "restic", "check-rate", "quiet", "backup-policies", "undetected", "level", "backups", "source", "invariants", "expect", "sets", "asks", "rpo",
	} {
		if !bytes.Contains(data, []byte(`"`+key+`": {`)) {
			t.Errorf("the schema has no %q", key)
		}
	}
}

func schema() *jsonschema.Schema {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}
	r.Mapper = func(t reflect.Type) *jsonschema.Schema { return valueSchema(r, t) }
	s := r.Reflect(fileEntry{})
	s.Title = "Blackstart fleet file"
	return s
}

// TestSchemaHasNoEmptyObject: where the generator does not know how a type is written, it describes an object without keys.
func TestSchemaHasNoEmptyObject(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(`"properties": {}`)) {
		t.Error("the schema has an object without properties: describe its type in valueSchema")
	}
}

// valueSchema describes the types that are written otherwise than Go sees them.
func valueSchema(r *jsonschema.Reflector, t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[text]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[version]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}}}
	case reflect.TypeFor[option]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	case reflect.TypeFor[secretRef]():
		return &jsonschema.Schema{Type: "string", Pattern: `^(file|env):.+$`}
	case reflect.TypeFor[powerRef]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, inner(r, reflect.TypeFor[powerUse]())}}
	case reflect.TypeFor[whole]():
		return &jsonschema.Schema{Type: "integer", Minimum: "0"}
	case reflect.TypeFor[boolean]():
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.TypeFor[span]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d)?([0-9.]+(h|m|s|ms|us|µs|ns))*$`}
	case reflect.TypeFor[size]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{1,7}(\.[0-9]{1,3})?([kMGTP]|[KMGTP]i)?B$`}
	case reflect.TypeFor[rate]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{1,7}(\.[0-9]{1,3})?([kMGTP]|[KMGTP]i)?B/s$`}
	case reflect.TypeFor[level]():
		return &jsonschema.Schema{Type: "string", Pattern: `^L[0-5]$`}
	case reflect.TypeFor[hours]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$`}
	case reflect.TypeFor[share]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{1,3}%$`}
	case reflect.TypeFor[limit]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: `^[0-9]{1,3}%$`}}}
	case reflect.TypeFor[names]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}}
	case reflect.TypeFor[ladderRef]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, inner(r, reflect.TypeFor[[]rungEntry]())}}
	}
	if t.Kind() == reflect.Slice && strings.HasPrefix(t.Name(), "table[") {
		value, _ := t.Elem().FieldByName("Value")
		s := inner(r, value.Type)
		if value.Type == reflect.TypeFor[whole]() {
			s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "null"}}}
		}
		return &jsonschema.Schema{Type: "object", AdditionalProperties: s}
	}
	return nil
}

func inner(r *jsonschema.Reflector, t reflect.Type) *jsonschema.Schema {
	s := r.ReflectFromType(t)
	s.Version = ""
	return s
}
