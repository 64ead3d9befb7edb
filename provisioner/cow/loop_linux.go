package cow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// imageBlock is the sector size of the loop device and of the file system on it. 4 KiB suits every backing store: direct
// I/O on a device with 4 KiB sectors is impossible with smaller ones.
const imageBlock = 4096

// attachLoop returns the path of a loop device backed by the image, an open descriptor that keeps it attached until it
// is mounted, and reuses a device that is attached already. The device detaches itself after its last unmount.
func attachLoop(ctx context.Context, image string) (string, int, error) {
	if dev, fd, err := findLoop(image); err != nil || fd >= 0 {
		return dev, fd, err
	}
	backing, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open image %s: %w", image, err)
	}
	defer closeFD(backing)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open /dev/loop-control: %w", err)
	}
	defer closeFD(control)
	for attempt := 0; ; attempt++ {
		dev, fd, err := claimLoop(control, backing, image)
		// EBUSY: another process took the free device between our asking for it and our configuring it.
		if !errors.Is(err, unix.EBUSY) || attempt >= 64 {
			return dev, fd, err
		}
		if err := pause(ctx, time.Duration(attempt)*time.Millisecond); err != nil {
			return "", -1, err
		}
	}
}

func claimLoop(control, backing int, image string) (string, int, error) {
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", -1, fmt.Errorf("ask for a free loop device: %w", err)
	}
	dev, fd, err := openLoop(n)
	if err != nil {
		return "", -1, err
	}
	if err := configureLoop(fd, backing, image); err != nil {
		closeFD(fd)
		return "", -1, fmt.Errorf("attach %s to %s: %w", image, dev, err)
	}
	return dev, fd, nil
}

// openLoop opens /dev/loopN. Inside a container the kernel knows the device but nobody made its node, so it is made.
func openLoop(n int) (string, int, error) {
	dev := "/dev/loop" + strconv.Itoa(n)
	fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
		if err != nil {
			return "", -1, fmt.Errorf("open %s: %w", dev, err)
		}
		return dev, fd, nil
	}
	major, minor := uint32(7), uint32(n)
	if text, err := os.ReadFile(filepath.Join("/sys/block/loop"+strconv.Itoa(n), "dev")); err == nil {
		_, _ = fmt.Sscanf(string(text), "%d:%d", &major, &minor)
	}
	err = unix.Mknod(dev, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return "", -1, fmt.Errorf("make the device node %s: %w", dev, err)
	}
	fd, err = unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open %s: %w", dev, err)
	}
	return dev, fd, nil
}

// configureLoop tries, in this order: everything in one call with direct I/O (which avoids caching every page twice),
// the same without direct I/O, and the calls that kernels before 5.8 have.
func configureLoop(fd, backing int, image string) error {
	cfg := unix.LoopConfig{Fd: uint32(backing), Size: imageBlock}
	copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], image)
	cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	err := unix.IoctlLoopConfigure(fd, &cfg)
	if errors.Is(err, unix.EINVAL) {
		cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(fd, &cfg)
	}
	if err == nil || errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := unix.IoctlSetInt(fd, unix.LOOP_SET_FD, backing); err != nil {
		return err
	}
	cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopSetStatus64(fd, &cfg.Info); err != nil {
		_ = unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0)
		return err
	}
	_ = unix.IoctlSetInt(fd, unix.LOOP_SET_BLOCK_SIZE, imageBlock)
	return nil
}

// findLoop looks for a device that is attached to the image already: by another process, or in a mount namespace that we
// do not see. The file is told by device and inode, since its path may differ between containers. fd is -1 if none is.
func findLoop(image string) (string, int, error) {
	var st unix.Stat_t
	if err := unix.Stat(image, &st); err != nil {
		return "", -1, fmt.Errorf("stat image %s: %w", image, err)
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", -1, fmt.Errorf("list loop devices: %w", err)
	}
	for _, file := range attached {
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		n, err := strconv.Atoi(strings.TrimPrefix(name, "loop"))
		if err != nil {
			continue
		}
		dev, fd, err := openLoop(n)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(fd)
		if err == nil && info.Device == st.Dev && info.Inode == st.Ino {
			return dev, fd, nil
		}
		closeFD(fd)
	}
	return "", -1, nil
}

func closeFD(fd int) {
	// Nothing is written through these descriptors whose loss close could report.
	_ = unix.Close(fd)
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
