// Command mayfly is the whole product: the service (serve), what an operator needs beside it (doctor, token), and the
// command line for developers.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/mayflydb/mayfly/migrations/runner/relay"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "relay" { // inside a runner container, where every megabyte counts
		os.Exit(relay.Run(ctx, os.Args[2]))
	}
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, hooks{}))
}

// streams are where a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// hooks let tests reach into a running service.
type hooks struct {
	// checkpoint is called between any two steps of a preview's creation and deletion.
	checkpoint func(step string)
}
