package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

// demoLabel marks the containers that the demo itself makes; its value is the demo's id.
const demoLabel = "dev.mayfly.demo"

// docker runs the docker program, as a person would, and returns what it printed. Production and GitHub are somebody
// else's machines in this demo: the service has no part in them.
func docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return output(ctx, stdin, "docker", args...)
}

// output runs a program and returns its standard output without the last line end.
func output(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}

// onEngine runs a shell script as root where the engine's containers live: here, or for an ordinary user by way of a
// container that enters the engine's host. Its arguments are $1, $2, …
func (d *demo) onEngine(ctx context.Context, stdin io.Reader, script string, args ...string) (string, error) {
	if !d.InCompose {
		return output(ctx, stdin, "sh", append([]string{"-euc", script, "sh"}, args...)...)
	}
	const enter = `
engine=1
for process in /proc/[0-9]*; do
	if [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ]; then engine=${process#/proc/}; break; fi
done
exec nsenter --target "$engine" --mount -- sh -euc "$@"`
	run := []string{
		"run", "--rm", "--interactive", "--pid", "host", "--network", "none", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE",
		"--security-opt", "apparmor=unconfined", "--security-opt", "label=disable", "--label", demoLabel + "=" + d.ID,
		"--device-cgroup-rule", "b 7:* rmw", "--entrypoint", "sh", d.ServiceImage, "-c", enter, "sh", script, "sh",
	}
	return docker(ctx, stdin, append(run, args...)...)
}

// freePorts returns ports of 127.0.0.1 that nobody listens on.
func freePorts(ctx context.Context, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return nil, errors.New("a listener without a port")
		}
		ports[i] = address.Port
	}
	return ports, nil
}

// writeSecret writes a file that only its owner can read.
func writeSecret(path, content string) error {
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
