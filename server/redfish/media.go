package redfish

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Bounds of the search for a drive: that many managers, and that many drives of each.
const (
	maxManagers = 4
	maxDrives   = 16
)

// drive is one VirtualMedia resource.
type drive struct {
	Types        []string `json:"MediaTypes"`
	Image        string   `json:"Image"`
	ImageName    string   `json:"ImageName"`
	Inserted     *bool    `json:"Inserted"`
	ConnectedVia string   `json:"ConnectedVia"`
	Actions      struct {
		Insert action `json:"#VirtualMedia.InsertMedia"`
		Eject  action `json:"#VirtualMedia.EjectMedia"`
	} `json:"Actions"`

	path string
	seen *answer
}

// full reports whether something is in the drive that the system could boot. A drive without a connection is empty, whatever image
// it still names.
func (d *drive) full() bool {
	if d.ConnectedVia == "NotConnected" {
		return false
	}
	if d.Inserted != nil {
		return *d.Inserted
	}
	return d.Image != ""
}

// holds reports whether the image is in the drive. Some BMCs keep only its name.
func (d *drive) holds(image string) bool {
	if d.Inserted != nil && !*d.Inserted {
		return false
	}
	return d.Image == image || d.full() && d.ImageName != "" && d.ImageName == fileName(image)
}

func fileName(image string) string {
	u, err := url.Parse(image)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// drive returns the virtual CD, nil if the BMC shows none to this account. It belongs to the system, or to the manager of it.
func (v *visit) drive(ctx context.Context) (*drive, error) {
	s, err := v.readSystem(ctx)
	if err != nil {
		return nil, err
	}
	places, err := v.driveLists(ctx, s)
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, at := range places {
		var list struct {
			Members []link `json:"Members"`
		}
		if _, found, err := v.maybe(ctx, at, &list); err != nil {
			return nil, err
		} else if !found {
			continue
		}
		for _, m := range list.Members[:min(len(list.Members), maxDrives)] {
			if v.media != "" && member(m.ID) != v.media {
				seen = append(seen, member(m.ID))
				continue
			}
			d, err := v.readDrive(ctx, m.ID)
			if err != nil {
				return nil, err
			}
			if d != nil && (v.media != "" || slices.Contains(d.Types, "CD") || slices.Contains(d.Types, "DVD")) {
				return d, nil
			}
		}
	}
	if v.media != "" {
		return nil, v.fail(recovery.Failed, "BMC does not have the virtual media", "The BMC at %s has no virtual media %q, only %s; correct the option media.",
			v.where, v.media, recovery.Clean(strings.Join(seen, ", "), maxSaid))
	}
	return nil, nil
}

// driveLists returns the collections of virtual media that may hold the system's.
func (v *visit) driveLists(ctx context.Context, s *system) ([]string, error) {
	var places []string
	if s.VirtualMedia.ID != "" {
		places = append(places, s.VirtualMedia.ID)
	}
	managers := s.Links.ManagedBy
	if len(managers) == 0 && v.root.Managers.ID != "" {
		var list struct {
			Members []link `json:"Members"`
		}
		if _, _, err := v.maybe(ctx, v.root.Managers.ID, &list); err != nil {
			return nil, err
		}
		managers = list.Members
	}
	for _, m := range managers[:min(len(managers), maxManagers)] {
		var manager struct {
			VirtualMedia link `json:"VirtualMedia"`
		}
		if _, _, err := v.maybe(ctx, m.ID, &manager); err != nil {
			return nil, err
		}
		if at := manager.VirtualMedia.ID; at != "" && !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	return places, nil
}

// readDrive returns nil if the drive is not there.
func (v *visit) readDrive(ctx context.Context, at string) (*drive, error) {
	d := &drive{path: at}
	var found bool
	var err error
	if d.seen, found, err = v.maybe(ctx, at, d); err != nil || !found {
		return nil, err
	}
	return d, nil
}

// insert puts the image into the virtual CD and returns when the BMC shows it there.
func (v *visit) insert(ctx context.Context, image string) error {
	d, err := v.drive(ctx)
	if err != nil {
		return err
	}
	switch {
	case d == nil:
		return v.fail(recovery.Failed, "no virtual CD", "The BMC at %s offers the user %q no virtual CD; see the account's rights and the BMC's licence, or boot from the network.", v.where, v.username)
	case d.full() && d.ConnectedVia == "Applet":
		return v.fail(recovery.Failed, "virtual CD in use", "Somebody has put an image into the virtual CD of the BMC at %s from a console; ask them to take it out.", v.where)
	case d.full() && d.holds(image):
		return nil
	case d.full():
		if err := v.eject(ctx, d); err != nil {
			return err
		}
		if d, err = v.drive(ctx); err != nil {
			return err
		}
		if d == nil {
			return v.fail(recovery.Failed, "no virtual CD", "The virtual CD of the BMC at %s has gone; look at its Redfish service.", v.where)
		}
	}
	a, err := v.load(ctx, d, image)
	if err != nil {
		return err
	}
	if !a.ok() {
		return v.complain(a, "the rescue image in its virtual CD")
	}
	return v.shows(ctx, d, "The BMC at %s accepts the rescue image and does not show it in its virtual CD; see whether it reaches the image's address.",
		func(now *drive) bool { return now.holds(image) })
}

// load asks for the image, by the action or by a change of the drive.
func (v *visit) load(ctx context.Context, d *drive, image string) (*answer, error) {
	if d.Actions.Insert.Target == "" {
		return v.patch(ctx, d.path, d.seen, map[string]any{"Image": image, "Inserted": true, "WriteProtected": true})
	}
	protocol := "HTTP"
	if strings.HasPrefix(image, "https:") {
		protocol = "HTTPS"
	}
	return v.offer(ctx, d.Actions.Insert.Target, // from the least that may do to all that may be wanted
		map[string]any{"Image": image},
		map[string]any{"Image": image, "TransferProtocolType": protocol},
		map[string]any{"Image": image, "TransferProtocolType": protocol, "TransferMethod": "Stream", "Inserted": true, "WriteProtected": true})
}

// empty empties the virtual CD, if there is one and something is in it.
func (v *visit) empty(ctx context.Context) error {
	d, err := v.drive(ctx)
	if err != nil || d == nil || !d.full() {
		return err
	}
	return v.eject(ctx, d)
}

func (v *visit) eject(ctx context.Context, d *drive) error {
	var a *answer
	var err error
	if d.Actions.Eject.Target == "" {
		a, err = v.patch(ctx, d.path, d.seen, map[string]any{"Image": nil, "Inserted": false})
	} else {
		a, err = v.offer(ctx, d.Actions.Eject.Target, struct{}{}, nil)
	}
	if err != nil {
		return err
	}
	if !a.ok() {
		return v.complain(a, "to empty its virtual CD")
	}
	return v.shows(ctx, d, "The BMC at %s accepts that its virtual CD is emptied and still shows an image in it; take it out at its console.",
		func(now *drive) bool { return !now.full() })
}

// shows waits until the drive is as it should be. Some BMCs fetch the beginning of the image first.
func (v *visit) shows(ctx context.Context, d *drive, otherwise string, right func(*drive) bool) error {
	ok, err := v.until(ctx, v.timeout/2, func() (bool, error) {
		now, err := v.readDrive(ctx, d.path)
		return now != nil && right(now), err
	})
	if ok || err != nil {
		return err
	}
	return v.fail(recovery.Failed, "virtual CD does not change", otherwise, v.where)
}
