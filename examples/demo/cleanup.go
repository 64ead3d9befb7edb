package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// parent is where demos have their directories: on a disk, with a path short enough for Unix sockets below it.
const parent = "/var/tmp"

const prefix = "mayfly-demo-"

// record is what has to be known to use a demo that was kept, and to remove one. It is saved whenever something is made.
type record struct {
	ID           string `json:"id"`
	Dir          string `json:"dir"`
	Data         string `json:"data"` // the service's data_dir
	InCompose    bool   `json:"in_compose"`
	Compose      string `json:"compose"`
	Image        string `json:"image"`
	ServiceImage string `json:"service_image"`

	Production    string `json:"production"` // container
	ServicePID    int    `json:"service_pid"`
	GitHubPID     int    `json:"github_pid"`
	GitHubURL     string `json:"github_url"`
	GitHubControl string `json:"github_control"`
	Clone         string `json:"clone"`

	URL            string `json:"url"` // of the API
	APIPublish     string `json:"api_publish"`
	GatewayPublish string `json:"gateway_publish"`
}

func (d *demo) save() error {
	raw, err := json.MarshalIndent(d.record, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.Dir, "demo.json"), raw, 0o600)
}

// kept returns this user's demos that are still there.
func kept() ([]*demo, error) {
	found, err := filepath.Glob(filepath.Join(parent, prefix+"*", "demo.json"))
	if err != nil {
		return nil, err
	}
	var all []*demo
	for _, path := range found {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrPermission) {
			continue // another user's
		}
		if err != nil {
			return nil, err
		}
		d := &demo{screen: newScreen(os.Stdout)}
		if err := json.Unmarshal(raw, &d.record); err != nil || d.Dir != filepath.Dir(path) {
			return nil, fmt.Errorf("%s is not the record of a demo", path)
		}
		all = append(all, d)
	}
	return all, nil
}

func stopAll(ctx context.Context) error {
	demos, err := kept()
	if err != nil {
		return err
	}
	if len(demos) == 0 {
		fmt.Println("there is no demo to stop")
	}
	for _, d := range demos {
		if err := d.remove(ctx); err != nil {
			return err
		}
		fmt.Println("removed the demo in " + d.Dir)
	}
	return nil
}

func withKeptGitHub(do func(*github) (*pullRequest, error)) error {
	demos, err := kept()
	if err != nil {
		return err
	}
	if len(demos) != 1 {
		return fmt.Errorf("there are %d demos running; start one with: make demo KEEP=1", len(demos))
	}
	p, err := do(&github{control: demos[0].GitHubControl})
	if err != nil {
		return err
	}
	fmt.Printf("pull request #%d at %.7s: delivery %s answered with %d\n", p.Number, p.SHA, p.Delivery.Event, p.Delivery.Status)
	return nil
}

// removal undoes what the service did to the machine, as root: $1 is its data directory.
const removal = `
[ -e "$1" ] || exit 0
for attempt in 1 2 3 4 5 6 7 8 9 10; do
	left=$(while read -r _ _ _ _ point _; do
		case $point in "$1" | "$1"/*) printf '%s\n' "$point" ;; esac
	done </proc/self/mountinfo | sort -r)
	[ -n "$left" ] || break
	printf '%s\n' "$left" | while read -r point; do umount "$point" || true; done
	[ "$attempt" = 1 ] || sleep 0.3
done
losetup --list --noheadings --output NAME,BACK-FILE 2>/dev/null | while read -r device file; do
	case $file in "$1"/*) losetup --detach "$device" ;; esac
done
rm -rf --one-file-system "$1"`

// remove stops everything and removes every trace, whatever state it is in. It works from the record alone.
func (d *demo) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	// All containers of this installation, whatever they are.
	installation, err := d.onEngine(ctx, nil, `cat "$1/installation" 2>/dev/null || true`, d.Data)
	problems := []error{err, d.stopProcess(ctx, d.ServicePID)}
	if d.InCompose && d.APIPublish != "" {
		_, err := docker(ctx, nil, "network", "disconnect", "--force", d.composeProject()+"_default", d.Production)
		if err != nil && !strings.Contains(err.Error(), "not") { // not connected, or no such network
			problems = append(problems, err)
		}
		problems = append(problems, d.composeRun(ctx, "down", "--volumes", "--timeout", "20"))
	}
	problems = append(problems, d.stopProcess(ctx, d.GitHubPID))
	for _, label := range []string{"dev.mayfly.instance=" + installation, demoLabel + "=" + d.ID} {
		if !strings.HasSuffix(label, "=") {
			problems = append(problems, removeContainers(ctx, label))
		}
	}
	_, err = d.onEngine(ctx, nil, removal, d.Data)
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("clean up %s: %w", d.Dir, err)
	}
	return os.RemoveAll(d.Dir)
}

func removeContainers(ctx context.Context, label string) error {
	found, err := docker(ctx, nil, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label="+label)
	if err != nil || found == "" {
		return err
	}
	_, err = docker(ctx, nil, append([]string{"rm", "--force", "--volumes"}, strings.Fields(found)...)...)
	if err != nil && strings.Contains(err.Error(), "No such container") {
		return nil // a throwaway container that went by itself
	}
	return err
}

// alive reports whether a process that the demo started runs. After a reboot its number may belong to somebody else's:
// ours have the demo's directory among their arguments.
func (d *demo) alive(ctx context.Context, pid int) bool {
	if pid <= 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil { // not Linux
		text, _ := output(ctx, nil, "ps", "-o", "command=", "-p", strconv.Itoa(pid))
		raw = []byte(text)
	}
	return strings.Contains(string(raw), d.Dir)
}

// stopProcess asks a process to end, and makes it.
func (d *demo) stopProcess(ctx context.Context, pid int) error {
	if !d.alive(ctx, pid) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	if poll(ctx, 30*time.Second, func() (bool, error) { return !d.alive(ctx, pid), nil }) == nil {
		return nil
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
