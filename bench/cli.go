package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mayflydb/mayfly/client"
)

// run runs the program as somebody at a shell does, and returns what it wrote and how long it took, with its start and its end.
func (b *bench) run(ctx context.Context, args ...string) (string, time.Duration, error) {
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, b.program, args...)
	home := filepath.Join(b.dir, "home")
	command.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "MAYFLY_SERVER=http://"+b.service.address, "MAYFLY_TOKEN="+b.service.token)
	command.Stdout, command.Stderr = &out, &errs
	began := time.Now()
	err := command.Run()
	took := time.Since(began)
	if err != nil {
		return "", 0, fmt.Errorf("mayfly %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String()), took, nil
}

// measureCLI times the command line: its help, and what it adds to the API's own time for a sandbox.
func (b *bench) measureCLI(ctx context.Context) error {
	var help, byCommand, byAPI series
	project := b.sizeProjects()[0]
	for i := range b.n + 1 {
		_, took, err := b.run(ctx, "--help")
		if err != nil {
			return err
		}
		name, created, err := b.run(ctx, "create", "--project", project, "--wait", "--quiet")
		if err != nil {
			return err
		}
		if err := b.service.remove(ctx, name); err != nil {
			return err
		}
		asked, err := b.createByAPI(ctx, project)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // files and pages are warm after the first
		}
		help.addMS(took)
		byCommand.addMS(created)
		byAPI.addMS(asked)
	}
	b.record(help.result("cli_help_ms", "ms"), map[string]any{"what": "from starting mayfly --help to its end"})
	b.record(byCommand.result("cli_create_wait_ms", "ms").beside("the same by the API: POST /api/v1/previews, then its stream of events until it is ready", byAPI),
		map[string]any{"template": b.sizes[0].String(), "what": "from starting mayfly create --wait to its end; one at a time, in turn"})
	return nil
}

// createByAPI returns how long the API itself takes for what the command does, and removes the preview.
func (b *bench) createByAPI(ctx context.Context, project string) (time.Duration, error) {
	began := time.Now()
	p, err := b.service.api.CreatePreview(ctx, client.CreatePreview{Project: project})
	if err != nil {
		return 0, err
	}
	err = b.service.api.FollowPreview(ctx, p.Name, func(now *client.Preview) bool {
		p = now
		return !now.Settled
	})
	took := time.Since(began)
	if err == nil && p.State != "ready" {
		err = fmt.Errorf("%s is %s", p.Name, p.State)
	}
	if err != nil {
		return 0, err
	}
	return took, b.service.remove(ctx, p.Name)
}
