package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// System returns the checks of this machine: the volume that holds root is writable and not full, and the named Windows
// services and processes run. It says nothing about devices, the registry or the desktop.
func System(root string, units, processes []string) []Check {
	checks := []Check{
		{"disk-writable", func(context.Context) (string, error) { return writable(root) }},
		{"disk-space", func(context.Context) (string, error) { return space(root) }},
	}
	for _, unit := range units {
		checks = append(checks, Check{"unit " + unit, func(context.Context) (string, error) { return service(unit) }})
	}
	for _, name := range processes {
		checks = append(checks, Check{"process " + name, func(ctx context.Context) (string, error) { return process(ctx, name) }})
	}
	return checks
}

func writable(root string) (string, error) {
	path, err := windows.UTF16FromString(root)
	if err != nil {
		return "", err
	}
	volume := make([]uint16, windows.MAX_PATH+1)
	if err := windows.GetVolumePathName(&path[0], &volume[0], uint32(len(volume))); err != nil {
		return "", fmt.Errorf("volume of %s: %w", root, err)
	}
	var flags uint32
	if err := windows.GetVolumeInformation(&volume[0], nil, 0, nil, nil, &flags, nil, 0); err != nil {
		return "", fmt.Errorf("volume of %s: %w", root, err)
	}
	if flags&windows.FILE_READ_ONLY_VOLUME != 0 {
		return "", fmt.Errorf("volume %s is read-only", windows.UTF16ToString(volume))
	}
	return windows.UTF16ToString(volume), nil
}

func space(root string) (string, error) {
	path, err := windows.UTF16PtrFromString(root)
	if err != nil {
		return "", err
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, nil); err != nil {
		return "", fmt.Errorf("free space of %s: %w", root, err)
	}
	return judgeSpace(free, total)
}

func service(name string) (string, error) {
	manager, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return "", fmt.Errorf("service manager: %w", err)
	}
	defer func() { _ = windows.CloseServiceHandle(manager) }()
	ptr, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return "", err
	}
	handle, err := windows.OpenService(manager, ptr, windows.SERVICE_QUERY_STATUS)
	if err != nil {
		return "", fmt.Errorf("service %s: %w", name, err)
	}
	defer func() { _ = windows.CloseServiceHandle(handle) }()
	var status windows.SERVICE_STATUS
	if err := windows.QueryServiceStatus(handle, &status); err != nil {
		return "", fmt.Errorf("service %s: %w", name, err)
	}
	if status.CurrentState != windows.SERVICE_RUNNING {
		return "", fmt.Errorf("service %s is not running (state %d)", name, status.CurrentState)
	}
	return "running", nil
}

func process(ctx context.Context, name string) (string, error) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return "", fmt.Errorf("process list: %w", err)
	}
	defer func() { _ = windows.CloseHandle(snapshot) }()
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &entry); err == nil && ctx.Err() == nil; err = windows.Process32Next(snapshot, &entry) {
		if exe := windows.UTF16ToString(entry.ExeFile[:]); strings.EqualFold(exe, name) || strings.EqualFold(exe, name+".exe") {
			return fmt.Sprintf("pid %d", entry.ProcessID), nil
		}
	}
	if ctx.Err() != nil || !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return "", fmt.Errorf("process list: %w", errors.Join(ctx.Err(), err))
	}
	return "", fmt.Errorf("no process %q is running", clip(name))
}
