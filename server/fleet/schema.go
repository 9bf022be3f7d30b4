package fleet

import _ "embed"

// Schema is the JSON Schema of the fleet file, for editors. It is generated from the types in file.go.
//
//go:embed fleet.schema.json
var Schema []byte
