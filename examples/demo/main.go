// Command demo shows the whole of Mayfly on generated production data: `make demo` runs it.
//
// It starts a Postgres full of personal data as the production, a fake GitHub with a real Git repository, and the
// service itself; builds a template, opens, updates and merges pull requests, makes a sandbox, and checks everything it
// claims. docs/demo.md describes it for people.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// usage is the error for a command line that says nothing.
const usage = `say what to do:
  demo run             show everything (scripts/demo.sh prepares what it needs)
  demo stop            stop and remove every demo that was kept
  demo open BRANCH     open a pull request for a branch that was pushed to the kept demo's repository
  demo sync NUMBER     tell the service that a pull request's branch has new commits
  demo merge NUMBER    merge a pull request`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	command, args := args[0], args[1:]
	switch {
	case command == "run":
		return runCommand(ctx, args)
	case command == "github":
		return githubCommand(ctx, args)
	case command == "stop":
		return stopAll(ctx)
	case command == "open" && len(args) == 1:
		return withKeptGitHub(func(g *github) (*pullRequest, error) { return g.open(ctx, args[0], args[0]) })
	case (command == "sync" || command == "merge") && len(args) == 1:
		number, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("%q is not the number of a pull request", args[0])
		}
		return withKeptGitHub(func(g *github) (*pullRequest, error) {
			if command == "merge" {
				return g.merge(ctx, number)
			}
			return g.sync(ctx, number)
		})
	}
	return errors.New(usage)
}

// options are what scripts/demo.sh found out.
type options struct {
	mayfly    string // the binary, for the command line
	image     string // of Postgres
	major     int
	inCompose bool   // the service runs in a container of its own, because this user is not root
	compose   string // scripts/compose.sh
	service   string // image of the service
	keep      bool
}

func runCommand(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("demo run", flag.ContinueOnError)
	flags.StringVar(&o.mayfly, "mayfly", "bin/mayfly", "the mayfly binary")
	flags.StringVar(&o.image, "image", "", "Postgres image")
	flags.IntVar(&o.major, "major", 0, "its major version")
	flags.BoolVar(&o.inCompose, "in-compose", false, "run the service in its own container")
	flags.StringVar(&o.compose, "compose", "scripts/compose.sh", "how to run docker compose")
	flags.StringVar(&o.service, "service-image", "", "image of the service")
	flags.BoolVar(&o.keep, "keep", false, "leave everything running")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.image == "" || o.major == 0 {
		return errors.New("run it by scripts/demo.sh, which finds an image")
	}
	return run(ctx, o)
}
