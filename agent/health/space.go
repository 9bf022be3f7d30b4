package health

import "fmt"

// judgeSpace says whether a file system is full: less than 1 % of it is left, or less than 256 MiB where 1 % is more.
func judgeSpace(free, total uint64) (string, error) {
	const enough = 256 << 20
	detail := fmt.Sprintf("%d MiB of %d MiB free", free>>20, total>>20)
	if total > 0 && free < min(total/100, enough) {
		return "", fmt.Errorf("disk full: %s", detail)
	}
	return detail, nil
}
