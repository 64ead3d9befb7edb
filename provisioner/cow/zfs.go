package cow

import "os/exec"

func hasProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// zfsUnable says why the zfs driver cannot be used on a file system, or "".
func zfsUnable(fsType string) string {
	switch {
	case fsType != "zfs":
		return "the directory is on " + fsType
	case !hasProgram("zfs"):
		return "the zfs program is not installed"
	}
	return ""
}
