package restore

import (
	"fmt"
	"os"
	"path/filepath"
)

const spareRoom = 64 << 20 // bytes that stay free beside a restore and five hundredths of it

// share is what one set of a running job will take of a disk.
type share struct {
	disk       string
	need, done int64
}

// left is what is still to be written of it.
func (s share) left() int64 { return max(0, s.need-s.done) }

// reserve sees that every set of a job has room, and keeps that room from other jobs until the job ends. sizes 0 are unknown: such a
// set needs no more than what is to stay free. A check removes each set before the next, so only the largest of a disk counts.
func (w *Worker) reserve(j *job, places []place, sizes []int64) error {
	w.rooms.Lock()
	defer w.rooms.Unlock()
	shares := make([]share, len(places))
	var disks []string
	free, at, need := map[string]int64{}, map[string]string{}, map[string]int64{}
	largest := map[string]int{}
	for i, p := range places {
		if p.Beside == "" {
			continue
		}
		disk, bytes, err := w.room(p.Beside)
		if err != nil {
			return &Fault{Failed, "room cannot be told", fmt.Sprintf("It cannot be told how much room there is for %s: %v.", p.Beside, err)}
		}
		if _, ok := free[disk]; !ok {
			disks = append(disks, disk)
			free[disk], at[disk], need[disk] = bytes, filepath.Dir(p.Beside), spareRoom
		}
		shares[i] = share{disk: disk, need: sizes[i] + sizes[i]/20}
		if k, ok := largest[disk]; ok && j.work.Kind == KindCheck {
			if shares[k].need > shares[i].need {
				shares[i].need = 0
				continue
			}
			need[disk] -= shares[k].need
			shares[k].need = 0
		}
		largest[disk] = i
		need[disk] += shares[i].need
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, disk := range disks {
		others := int64(0)
		for _, other := range w.active {
			for _, s := range other.shares {
				if other != j && s.disk == disk {
					others += s.left()
				}
			}
		}
		if need[disk] > free[disk]-others {
			return &Fault{Failed, "not enough space", fmt.Sprintf(
				"The disk of %s has %d bytes free, of which %d are for other jobs, and %d are needed (5 %% and 64 MiB among them); nothing was written: make room, or restore to another disk.",
				at[disk], free[disk], others, need[disk])}
		}
	}
	j.shares = shares
	return nil
}

// room is the disk that path, or the nearest folder above it that is there, lies on, and how many bytes are free on it for us.
func room(path string) (disk string, free int64, err error) {
	for {
		if _, err := os.Stat(path); !isNothing(err) || filepath.Dir(path) == path {
			return roomAt(path)
		}
		path = filepath.Dir(path)
	}
}
