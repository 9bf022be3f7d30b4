package rescue

import (
	"debug/elf"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// Folders in which Debian's amd64 programs look for libraries.
var libraryFolders = []string{"usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"}

// closure lists the programs and every library that they need, links included, as paths of the tree, sorted. A name without a slash is
// a library that a program opens only while it runs.
func (t *tree) closure(wanted []string) ([]string, error) {
	seen := map[string]bool{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		if !strings.Contains(name, "/") {
			found, ok := t.library(name)
			if !ok {
				return fmt.Errorf("%s needs the library %s, which is in none of the packages", by, name)
			}
			name = found
		}
		if seen[name] {
			return nil
		}
		seen[name] = true
		target, ok := t.resolve(name)
		if !ok {
			return fmt.Errorf("%s is in none of the packages: perhaps this release of Debian has it elsewhere", name)
		}
		seen[target] = true
		needs, err := needed(t.path(target))
		if err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		for _, n := range needs {
			if err := visit(n, target); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range wanted {
		if err := visit(name, "the rescue system"); err != nil {
			return nil, err
		}
	}
	list := make([]string, 0, len(seen))
	for name := range seen {
		list = append(list, name)
	}
	slices.Sort(list)
	return list, nil
}

func (t *tree) library(name string) (string, bool) {
	for _, dir := range libraryFolders {
		if _, ok := t.files[path.Join(dir, name)]; ok {
			return path.Join(dir, name), true
		}
	}
	return "", false
}

// needed reads which libraries, and which interpreter, an ELF file asks for. Other files ask for none.
func needed(file string) ([]string, error) {
	raw, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := raw.ReadAt(magic, 0); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil //nolint:nilerr // too short to be one, or another kind
	}
	f, err := elf.NewFile(raw)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, err
		}
		list = append(list, merged(strings.TrimRight(string(b), "\x00")))
	}
	return list, nil
}
