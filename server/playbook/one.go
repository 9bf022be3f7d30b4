package playbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// LoadOne reads the playbook in one folder, whatever lies beside it. The error joins every problem, each a *Problem with its place.
func LoadOne(dir string) (*Playbook, error) {
	whole, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("playbook folder %s cannot be opened; name an existing folder: %w", dir, err)
	}
	root, err := os.OpenRoot(filepath.Dir(whole))
	if err != nil {
		return nil, fmt.Errorf("playbook folder %s cannot be opened; name an existing folder: %w", dir, err)
	}
	defer root.Close()
	p, problems := loadPlaybook(root.FS(), filepath.Base(whole), dir)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if p == nil {
		return nil, fmt.Errorf("folder %s holds no %s, so it is no playbook; name a playbook's own folder", dir, manifestName)
	}
	return p, nil
}
