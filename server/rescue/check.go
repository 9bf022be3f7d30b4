package rescue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxManifest bounds what is read of a manifest, in bytes.
const maxManifest = 8 << 20

// Check says what is wrong with an image folder, in one sentence: a file that is missing or not what the manifest says, or a URL that is
// not the one that was baked in. An empty url is not compared. A folder without a manifest is an image of somebody else's making: only
// its files are looked for, and the Manifest that is returned is empty.
func Check(dir, url string) (Manifest, error) {
	for _, name := range []string{KernelFile, InitrdFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return Manifest{}, fmt.Errorf("the rescue image: %w; make it with `blackstart rescue build --out DIR`", err)
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return Manifest{}, fmt.Errorf("the rescue image: %s is empty or no file; make it with `blackstart rescue build --out DIR`", filepath.Join(dir, name))
		}
	}
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, nil
	}
	if err != nil {
		return Manifest{}, err
	}
	for _, name := range []string{KernelFile, InitrdFile} {
		sum, _, err := digestFile(filepath.Join(dir, name))
		if err != nil {
			return Manifest{}, fmt.Errorf("the rescue image: %w", err)
		}
		if sum != m.Files[name].SHA256 {
			return Manifest{}, fmt.Errorf("the rescue image: %s is not the file that %s names: it is damaged or was copied in part; build it anew", filepath.Join(dir, name), ManifestFile)
		}
	}
	if url != "" && m.URL != url {
		return Manifest{}, fmt.Errorf("the rescue image in %s was built for the coordinator at %s, not %s: build it anew with --url, or say --boot-url %s", dir, m.URL, url, m.URL)
	}
	return m, nil
}

func readManifest(dir string) (Manifest, error) {
	f, err := os.Open(filepath.Join(dir, ManifestFile))
	if err != nil {
		return Manifest{}, fmt.Errorf("the rescue image: %w", err)
	}
	defer f.Close()
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("the rescue image: %s cannot be read: %w; build it anew", f.Name(), err)
	}
	return m, nil
}

// LetsIn reports whether one of the keys, by their SHA-256 fingerprints, may log in to the image. An image that trusts an authority may
// let in any key that this has signed.
func (m Manifest) LetsIn(fingerprints []string) bool {
	if len(m.CAs) > 0 || len(m.Keys) == 0 {
		return true
	}
	for _, have := range fingerprints {
		for _, may := range m.Keys {
			if have == may {
				return true
			}
		}
	}
	return false
}
