package power

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// maxSecret is the size of a secret's file, in bytes.
const maxSecret = 16 << 10

// ReadSecret returns what "file:PATH" or "env:NAME" holds now, without one trailing newline. Its errors name the place, never the value.
func ReadSecret(ref string) (string, error) {
	kind, place, _ := strings.Cut(ref, ":")
	var value string
	switch {
	case kind == "file" && place != "":
		content, err := readFile(place)
		if err != nil {
			return "", err
		}
		value = content
	case kind == "env" && place != "":
		content, ok := os.LookupEnv(place)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set; set it where the coordinator is started", recovery.Clean(place, 60))
		}
		value = content
	default: // perhaps somebody put the secret itself there
		return "", errors.New("its place is neither file:PATH nor env:NAME; name one of them")
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("%s is empty; put the secret there", recovery.Clean(ref, 200))
	}
	return value, nil
}

// readFile reads a small regular file. Anything else, such as a pipe, could make us wait for ever.
func readFile(path string) (string, error) {
	where := recovery.Clean(path, 200)
	about, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("there is no file %s; put the secret there", where)
	case err != nil || !about.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file that can be read; put the secret into one", where)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("the file %s may not be read; let the coordinator's user read it", where)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("the file %s cannot be read to its end; look at its disk", where)
	}
	if len(content) > maxSecret {
		return "", fmt.Errorf("the file %s has more than %d bytes; it is no secret of a control", where, maxSecret)
	}
	return string(content), nil
}

// veil holds the forms in which a secret might come back: as it is, tidied, and as web tools write it. The longest come first.
type veil []string

// add returns the veil with one secret more.
func (v veil) add(secret string) veil {
	forms := []string{
		secret, recovery.Clean(secret, len(secret)),
		url.QueryEscape(secret), url.PathEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		strings.Trim(fmt.Sprintf("%q", secret), `"`), strings.ReplaceAll(secret, "'", `'"'"'`),
	}
	for _, form := range forms {
		if form != "" && !slices.Contains(v, form) {
			v = append(v, form)
		}
	}
	slices.SortStableFunc(v, func(x, y string) int { return len(y) - len(x) })
	return v
}

// over returns the text with every secret hidden.
func (v veil) over(text string) string {
	pairs := make([]string, 0, 2*len(v))
	for _, form := range v {
		pairs = append(pairs, form, "[secret]")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
