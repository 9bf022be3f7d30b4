package agent

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// bootID tells this boot from others. Windows has no boot id like Linux's. The moment of boot (now minus GetTickCount64)
// is no good by itself: it moves whenever the clock is set, and a moved id would look like a reboot that never was. The
// time at which the kernel started its System process is written down once, when it starts, and is not moved with the
// clock. Only where Windows hides it does the moment of boot have to do, rounded to ten minutes; there a clock that is
// set by more than that looks like a reboot, as does an agent restart whose moment falls on the other side of a rounding.
func bootID() (string, error) {
	started, err := systemProcessStarted()
	if err == nil {
		return fmt.Sprintf("windows-%x", started), nil
	}
	up := windows.DurationSinceBoot()
	if up <= 0 {
		return "", fmt.Errorf("neither the System process nor GetTickCount64 tells when Windows was started: %w", err)
	}
	return fmt.Sprintf("windows-about-%d", time.Now().Add(-up).Round(10*time.Minute).Unix()), nil
}

// systemProcessStarted returns the creation time of process 4, in units of 100 ns since 1601.
func systemProcessStarted() (int64, error) {
	const systemPID, most = 4, 16 << 20
	for size := uint32(256 << 10); size <= most; size *= 2 {
		buf := make([]byte, size)
		var got uint32
		err := windows.NtQuerySystemInformation(windows.SystemProcessInformation, unsafe.Pointer(&buf[0]), size, &got)
		if errors.Is(err, windows.STATUS_INFO_LENGTH_MISMATCH) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("process list: %w", err)
		}
		for at := uintptr(0); at+unsafe.Sizeof(windows.SYSTEM_PROCESS_INFORMATION{}) <= uintptr(got); {
			p := (*windows.SYSTEM_PROCESS_INFORMATION)(unsafe.Pointer(&buf[at]))
			if p.UniqueProcessID == systemPID && p.CreateTime > 0 {
				return p.CreateTime, nil
			}
			if p.NextEntryOffset == 0 {
				break
			}
			at += uintptr(p.NextEntryOffset)
		}
		return 0, errors.New("process list: the System process shows no creation time")
	}
	return 0, errors.New("process list: too long")
}

var getSystemMetrics = windows.NewLazySystemDLL("user32.dll").NewProc("GetSystemMetrics")

func bootMode() string {
	if key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control\MiniNT`, registry.QUERY_VALUE); err == nil {
		_ = key.Close()
		return "rescue" // Windows PE or the recovery environment
	}
	if getSystemMetrics.Find() != nil {
		return "" // unknown
	}
	const smCleanBoot = 67
	if mode, _, _ := getSystemMetrics.Call(smCleanBoot); mode != 0 { // 1: safe mode, 2: with network
		return "safe"
	}
	return "normal"
}
