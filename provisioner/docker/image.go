package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// A pull is given up when nothing was downloaded for pullSilence, and after pullTotal in any case.
const (
	pullSilence = 20 * time.Second
	pullTotal   = 5 * time.Minute
)

// imageFacts is what must be known of an image to run it.
type imageFacts struct {
	major   int
	user    driver.Owner
	volumes []string // the image's VOLUME declarations
	routes  int      // seen in the probing container; must be 0
}

// Image implements driver.Engine. With ref "", it takes postgres:<major> or mayfly-postgres:<major>, whichever is
// present, and pulls the former otherwise.
func (e *Engine) Image(ctx context.Context, ref string, major int) (driver.Image, error) {
	found, err := e.Present(ctx, ref, major)
	if !errors.Is(err, driver.ErrNotFound) {
		return found, err
	}
	wanted := candidates(ref, major)[0]
	if err := e.pull(ctx, wanted); err != nil {
		return driver.Image{}, err
	}
	found, err = e.present(ctx, wanted, major)
	if errors.Is(err, driver.ErrNotFound) {
		return driver.Image{}, unavailable(wanted, err)
	}
	return found, err
}

// Present is Image without pulling. ErrNotFound if there is no such image on the engine.
func (e *Engine) Present(ctx context.Context, ref string, major int) (driver.Image, error) {
	if ref == "" && major <= 0 {
		return driver.Image{}, mayfly.Errorf(mayfly.CodeInvalid, "neither an image nor a PostgreSQL major version is given")
	}
	for _, candidate := range candidates(ref, major) {
		found, err := e.present(ctx, candidate, major)
		if !errors.Is(err, driver.ErrNotFound) {
			return found, err
		}
	}
	return driver.Image{}, fmt.Errorf("image %s: %w", strings.Join(candidates(ref, major), " or "), driver.ErrNotFound)
}

// candidates returns the references to look for, the one to pull first.
func candidates(ref string, major int) []string {
	if ref != "" {
		return []string{ref}
	}
	return []string{fmt.Sprintf("postgres:%d", major), fmt.Sprintf("mayfly-postgres:%d", major)}
}

// present resolves a reference to an image that the engine has. ErrNotFound if it has none.
func (e *Engine) present(ctx context.Context, ref string, major int) (driver.Image, error) {
	found, err := e.api.ImageInspect(ctx, ref)
	if err != nil {
		return driver.Image{}, e.wrap(err, "look for image %s", ref)
	}
	facts, err := e.probed(ctx, found.ID)
	if err != nil {
		return driver.Image{}, err
	}
	if major > 0 && facts.major != major {
		return driver.Image{}, mayfly.Errorf(mayfly.CodeInvalid, "image %s holds PostgreSQL %d, not %d", ref, facts.major, major).
			WithHint("change the project's image or its major version")
	}
	return driver.Image{ID: found.ID, Ref: ref, Major: facts.major, User: facts.user}, nil
}

// probed returns the facts of a present image, found out once per process.
func (e *Engine) probed(ctx context.Context, id string) (imageFacts, error) {
	if cached, ok := e.images.Load(id); ok {
		if facts, ok := cached.(imageFacts); ok {
			return facts, nil
		}
	}
	// One caller probes for all; that its context may end first must not fail the others.
	flight := e.flights.DoChan("probe "+id, func() (any, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		facts, err := e.probe(bounded, id)
		if err == nil {
			e.images.Store(id, facts)
		}
		return facts, err
	})
	select {
	case <-ctx.Done():
		return imageFacts{}, fmt.Errorf("probe image %s: %w", id, ctx.Err())
	case result := <-flight:
		facts, _ := result.Val.(imageFacts)
		return facts, result.Err
	}
}

// probeScript prints the postgres user's numbers, the server's version and the number of routes.
const probeScript = `id -u postgres && id -g postgres && postgres --version && tail -n +2 /proc/net/route | wc -l`

// probe runs a container of the image, as nobody, since the postgres user's number is what it is to find out. It also
// makes sure that this engine keeps the promise everything rests on: that such a container has no network.
func (e *Engine) probe(ctx context.Context, id string) (imageFacts, error) {
	inspected, err := e.api.ImageInspect(ctx, id)
	if err != nil {
		if cerrdefs.IsNotFound(err) {
			return imageFacts{}, mayfly.Errorf(mayfly.CodeImageUnavailable, "image %s is not present: %w", id, err).
				WithHint("build or pull it again; templates need the image that they were made with")
		}
		return imageFacts{}, e.wrap(err, "inspect image %s", id)
	}
	facts := imageFacts{user: driver.Owner{UID: 65534, GID: 65534}}
	if inspected.Config != nil {
		facts.volumes = slices.Sorted(maps.Keys(inspected.Config.Volumes))
	}
	var out bytes.Buffer
	result, err := e.run(ctx, driver.RunSpec{
		Image: id, Command: []string{"sh", "-c", probeScript}, Stdout: &out, Labels: map[string]string{"role": "probe"},
	}, facts)
	if err != nil {
		return imageFacts{}, fmt.Errorf("probe image %s: %w", id, err)
	}
	if err := facts.parse(out.String()); err != nil || result.ExitCode != 0 {
		return imageFacts{}, mayfly.Errorf(mayfly.CodeInvalid, "image %s is not a usable Postgres image: exit code %d: %s", id,
			result.ExitCode, strings.TrimSpace(out.String()+" "+string(result.Stderr))).
			WithHint("an image needs a postgres user, a shell, and postgres and the client programs on its PATH")
	}
	if facts.routes > 0 {
		return imageFacts{}, mayfly.Errorf(mayfly.CodeEngineUnavailable, "the Docker engine gives containers a network although they are to have none").
			WithHint("this engine cannot isolate previews; use a standard Docker engine on Linux")
	}
	return facts, nil
}

// parse reads probeScript's output: uid, gid, "postgres (PostgreSQL) 15.18 (Debian …)", routes.
func (f *imageFacts) parse(out string) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 {
		return fmt.Errorf("%d lines instead of 4", len(lines))
	}
	uid, errUID := strconv.Atoi(lines[0])
	gid, errGID := strconv.Atoi(lines[1])
	fields := strings.Fields(lines[2])
	if len(fields) < 3 {
		return fmt.Errorf("version %q is not understood", lines[2])
	}
	digits := fields[2]
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i] // "15.18", "19beta1"
	}
	major, errMajor := strconv.Atoi(digits)
	routes, errRoutes := strconv.Atoi(strings.TrimSpace(lines[3]))
	if err := errors.Join(errUID, errGID, errMajor, errRoutes); err != nil {
		return err
	}
	f.user, f.major, f.routes = driver.Owner{UID: uid, GID: gid}, major, routes
	return nil
}

// pull downloads an image, if that goes well enough.
func (e *Engine) pull(ctx context.Context, ref string) error {
	flight := e.flights.DoChan("pull "+ref, func() (any, error) {
		return nil, e.pullOnce(context.WithoutCancel(ctx), ref)
	})
	select {
	case <-ctx.Done():
		return fmt.Errorf("pull image %s: %w", ref, ctx.Err())
	case result := <-flight:
		return result.Err
	}
}

func (e *Engine) pullOnce(ctx context.Context, ref string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pullTotal, fmt.Errorf("not finished after %s", pullTotal))
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	silence := time.AfterFunc(pullSilence, func() { giveUp(fmt.Errorf("no progress for %s", pullSilence)) })
	defer silence.Stop()
	e.log.InfoContext(ctx, "pulling image", "image", ref)
	progress, err := e.api.ImagePull(ctx, ref, image.PullOptions{})
	if err == nil {
		err = followPull(progress, func() { silence.Reset(pullSilence) })
		_ = progress.Close()
	}
	if err == nil {
		return nil
	}
	if connectionLost(err) {
		return e.wrap(err, "pull image %s", ref)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return unavailable(ref, err)
}

// followPull reads the engine's progress messages to the end, and calls alive for each that shows progress.
func followPull(progress io.Reader, alive func()) error {
	decoder := json.NewDecoder(progress)
	for {
		var message struct {
			Error  string `json:"error"`
			Status string `json:"status"`
		}
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case message.Error != "":
			return errors.New(message.Error)
		case !strings.HasPrefix(message.Status, "Retrying"):
			alive()
		}
	}
}

// unavailable says how to get the image.
func unavailable(ref string, cause error) error {
	err := mayfly.Errorf(mayfly.CodeImageUnavailable, "image %s is not present and cannot be pulled: %w", ref, cause)
	if major, official := strings.CutPrefix(ref, "postgres:"); official {
		return err.WithHint("run: make images MAJORS=%s", major)
	}
	return err.WithHint("pull or build it on the engine's host")
}
