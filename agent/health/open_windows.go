package health

import "os"

const (
	openFile = os.O_RDONLY
	openDir  = os.O_RDONLY
)
