package netboot

import (
	"fmt"
	"strings"
)

// CommandLine is what the rescue kernel is started with, initrds apart.
const CommandLine = "console=ttyS0 console=tty0 panic=60 blackstart=rescue"

// initrds is for UEFI, where the kernel asks iPXE for its initrds by name and puts them together without a gap. The seed comes first,
// since it ends on a block, and the kernel does not see an archive that begins on an odd byte.
const initrds = "initrd=seed initrd=initrd"

// bootScript sends every machine to us with its identity. A machine that gets no answer goes on to its next boot device.
func bootScript(url string) string {
	return `#!ipxe
# Blackstart: ask whether this machine is wanted in the rescue system. It is not, unless the answer says so.
chain --autofree ` + url + `/host.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid} || exit 1
`
}

// localScript boots the machine's own disk: a BIOS at once, where there is a first disk that can be booted; UEFI, and a BIOS
// without one, by going on to the next entry of the firmware's boot order, which a failed network boot makes both do.
func localScript(why string) string {
	return fmt.Sprintf(`#!ipxe
echo Blackstart: local disk: %s
%s`, printable(why), ownDisk)
}

const ownDisk = `iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 ||
exit 1
`

// rescueScript boots the rescue system. The seed is fetched last, for it is given once: what is asked for before it may be asked for
// again for a minute, in which the coordinator may be starting again. A machine that cannot get it all boots its own disk.
func rescueScript(url, token, host string) string {
	base := url + "/rescue/" + token
	return fmt.Sprintf(`#!ipxe
echo Blackstart: rescue system for %s
set tries:int32 0
goto image
:again
inc tries
iseq ${tries} 12 && goto failed ||
echo Blackstart: no answer, trying again
sleep 5
:image
imgfree ||
kernel %s/vmlinuz %s %s || goto again
initrd %s/initrd || goto again
initrd %s/seed || goto failed
boot || goto failed
:failed
imgfree ||
echo Blackstart: the rescue system cannot be loaded; local disk
%s`, printable(host), base, initrds, CommandLine, base, base, ownDisk)
}

// printable leaves of a text what cannot mean anything to iPXE's script language, and at most 200 characters of it.
func printable(text string) string {
	var out strings.Builder
	for _, r := range text {
		if out.Len() == 200 {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" .,:;_-/()", r):
			out.WriteRune(r)
		default:
			out.WriteByte(' ')
		}
	}
	return strings.TrimSpace(out.String())
}
