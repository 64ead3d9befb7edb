package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// exitRelay is the exit code for what is the relay's own failure, not the command's (sysexits.h, EX_SOFTWARE).
const exitRelay = 70

// bombPatience is for how many looks in a row, a second apart, a command may go on asking for processes that it cannot have.
const bombPatience = 5

// Run is the relay's whole life. It returns the exit code for the process, which should end at once: the kernel then ends
// whatever else runs in the container.
func Run(ctx context.Context, sockets string) int {
	// The command may send signals to this process. What the kernel lets through is not for it to end the relay by; ignoring them
	// would be inherited by the command.
	ctx = context.WithoutCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(sockets, ControlSocket))
	if err != nil {
		fmt.Fprintln(os.Stderr, "mayfly relay:", err)
		return exitRelay
	}
	defer func() { _ = conn.Close() }()
	code, err := serve(ctx, conn)
	if err != nil {
		_ = WriteLine(conn, Event{Kind: EventRefused, Error: err.Error()}) // nobody else could be told
		return exitRelay
	}
	return code
}

func serve(ctx context.Context, conn net.Conn) (int, error) {
	if err := WriteLine(conn, Event{Kind: EventReady}); err != nil {
		return 0, err
	}
	start, err := prepare(conn)
	if err != nil {
		return 0, err
	}
	for address, socket := range start.Forward {
		if err := forward(ctx, address, socket); err != nil {
			return 0, err
		}
	}
	ended := make(chan os.Signal, 16)
	signal.Notify(ended, syscall.SIGCHLD)
	child, err := launch(ctx, start)
	if err != nil {
		return 0, err
	}
	if err := WriteLine(conn, Event{Kind: EventStarted}); err != nil {
		return 0, err
	}
	go func() { // Mayfly is gone, or does not want this any more
		_, _ = io.Copy(io.Discard, conn)
		os.Exit(exitRelay) //nolint:forbidigo // as the first process of a container, it is main
	}()
	exit := wait(child, ended)
	if exit.Code != 0 {
		exit.Full = full(start.Scratch)
	}
	exit.OutOfMemory = killedForMemory()
	return exit.Code, WriteLine(conn, Event{Kind: EventExited, Exit: &exit})
}

// prepare reads what to do and unpacks the checkout.
func prepare(conn io.Reader) (Start, error) {
	var start Start
	reader := bufio.NewReaderSize(conn, 64<<10)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return start, fmt.Errorf("read what to run: %w", err)
	}
	if err := json.Unmarshal(line, &start); err != nil || len(start.Argv) == 0 || start.Dir == "" {
		return start, errors.New("what to run cannot be understood")
	}
	if err := Unpack(reader, start.Dir); err != nil {
		return start, err
	}
	return start, link(start.Dir, start.Link)
}

// launch starts the command. It is no more than started: wait reaps it, together with everything else.
func launch(ctx context.Context, start Start) (int, error) {
	env := merge(os.Environ(), start.Env)
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			if err := os.Setenv("PATH", value); err != nil { // LookPath reads it
				return 0, fmt.Errorf("set PATH: %w", err)
			}
		}
	}
	if err := os.Chdir(start.Dir); err != nil { // Argv[0] may be relative to the checkout
		return 0, fmt.Errorf("enter the checkout: %w", err)
	}
	program, err := exec.LookPath(start.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return 0, fmt.Errorf("the image has no program %q: %w", start.Argv[0], err)
	}
	cmd := exec.CommandContext(ctx, program, start.Argv[1:]...)
	cmd.Args[0] = start.Argv[0]
	cmd.Env, cmd.Dir = env, start.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", start.Argv[0], err)
	}
	return cmd.Process.Pid, nil
}

// merge puts further variables behind those of the image, whose values they replace.
func merge(image, further []string) []string {
	names := make(map[string]bool, len(further))
	for _, entry := range further {
		name, _, _ := strings.Cut(entry, "=")
		names[name] = true
	}
	var env []string
	for _, entry := range image {
		if name, _, _ := strings.Cut(entry, "="); !names[name] {
			env = append(env, entry)
		}
	}
	return append(env, further...)
}

// wait reaps every process that ends, as the first process of a container must, until the command itself has ended. It
// waits for the signal instead of in the system call: a thread that sits there would have to be replaced by a new one, which
// is what a fork bomb takes away.
func wait(child int, ended <-chan os.Signal) Exit {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	var exit Exit
	met := 0
	for {
		select {
		case <-ended:
		case <-look.C:
			refused := refusedProcesses()
			met++
			if refused == exit.ProcessLimit {
				met = 0
			}
			exit.ProcessLimit = refused
			if met >= bombPatience {
				exit.ForkBomb, exit.Code, exit.Signal = true, 128+int(syscall.SIGKILL), syscall.SIGKILL.String()
				_ = syscall.Kill(-1, syscall.SIGKILL) // everybody but this process
				return exit
			}
		}
		for {
			var status syscall.WaitStatus
			var usage syscall.Rusage
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			if pid == child && (status.Exited() || status.Signaled()) {
				return describe(exit, status, usage)
			}
		}
	}
}

func describe(exit Exit, status syscall.WaitStatus, usage syscall.Rusage) Exit {
	exit.Code = status.ExitStatus()
	if status.Signaled() {
		exit.Code, exit.Signal = 128+int(status.Signal()), status.Signal().String() // as shells count
	}
	exit.ProcessLimit = refusedProcesses()
	exit.MaxRSSBytes = usage.Maxrss << 10
	exit.CPUMS = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e6
	return exit
}

// forward listens on the container's loopback and copies to a socket.
func forward(ctx context.Context, address, socket string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				time.Sleep(10 * time.Millisecond) // too many open files; the command has to close some
				continue
			}
			go join(ctx, conn, socket)
		}
	}()
	return nil
}

func join(ctx context.Context, conn net.Conn, socket string) {
	defer func() { _ = conn.Close() }()
	var dialer net.Dialer
	out, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyOne(out, conn)
	}()
	copyOne(conn, out)
	<-done
}

// copyOne copies one direction and passes on where it ends.
func copyOne(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
