package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// installationID reads the id of the installation from its data_dir, making one at the first start.
func installationID(dataDir string) (string, error) {
	if err := os.MkdirAll(dataDir, 0o711); err != nil { //nolint:gosec // previews' sockets are reached through it
		return "", mayfly.Errorf(mayfly.CodeInvalid, "make data_dir: %w", err)
	}
	path := filepath.Join(dataDir, "installation")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = file.WriteString(mayfly.NewID("i") + "\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write the installation's id: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the installation's id: %w", err)
	}
	id := strings.TrimSpace(string(raw))
	if !driver.ValidID(id) {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "%s does not hold an installation's id", path).
			WithHint("if this is a new data_dir, remove the file")
	}
	return id, nil
}

// stateIDFile, below data_dir, holds the id of the state database that this data_dir works with.
const stateIDFile = "state.id"

// claimState makes the state database this installation's, and refuses one that is not the one from before: what it does not
// know looks like garbage, so with an empty database the first sweep would remove every preview and every template.
func (d *daemon) claimState(ctx context.Context, installation string) error {
	path := filepath.Join(d.config.DataDir, stateIDFile)
	known, err := readStateID(path)
	if err != nil {
		return err
	}
	var claimed string
	err = d.store.Claim(ctx, installation, func(database string, first bool) error {
		claimed = database
		if known == database {
			return nil
		}
		refusal := d.strangeState(ctx, known, database, first)
		if refusal == nil || !d.adopt {
			return refusal
		}
		d.logger.WarnContext(ctx, "a new state database is adopted; what exists and is unknown to it will be removed", "database", database, "reason", refusal)
		return nil
	})
	if err != nil || known == claimed {
		return err
	}
	if err := writeStateID(path, claimed); err != nil {
		return fmt.Errorf("remember the state database's id: %w", err)
	}
	return nil
}

// strangeState says why a state database cannot be the one that this data_dir worked with, nil if it can.
func (d *daemon) strangeState(ctx context.Context, known, database string, first bool) error {
	switch {
	case known != "" && first:
		return lostState("the state database is new, and this data_dir worked with another (%s, says data_dir/%s)", known, stateIDFile)
	case known != "":
		return lostState("the state database is %s, and this data_dir worked with another (%s, says data_dir/%s)", database, known, stateIDFile)
	case !first:
		return nil // from before there was the file, or the file was lost: the database knows the installation
	}
	volumes, err := d.pool.List(ctx)
	if err != nil {
		return fmt.Errorf("look for what a new state database would not know: %w", err)
	}
	containers := 0
	for _, role := range []string{"preview", "build"} {
		found, err := d.engine.List(ctx, map[string]string{"role": role})
		if err != nil {
			return fmt.Errorf("look for what a new state database would not know: %w", err)
		}
		containers += len(found)
	}
	if len(volumes) == 0 && containers == 0 {
		return nil
	}
	return lostState("the state database is new, and this installation has volumes (%d) and containers (%d) already", len(volumes), containers)
}

func lostState(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeConflict, format, args...).
		WithHint("nothing was touched. Point database_url at the right database, or restore it (data_dir/state, if it is embedded). " +
			"If the old state is really lost, run mayfly serve --adopt-state once: " +
			"it accepts this database, and REMOVES every preview, template and container of this installation that this database does not know")
}

// readStateID returns "" if there is no file yet.
func readStateID(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the state database's id: %w", err)
	}
	id := strings.TrimSpace(string(raw))
	if !driver.ValidID(id) {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "%s does not hold a state database's id", path).
			WithHint("if the database in the configuration is the right one, remove the file")
	}
	return id, nil
}

// writeStateID replaces the file whole: a crash leaves the old one or the new one.
func writeStateID(path, id string) error {
	file, err := os.CreateTemp(filepath.Dir(path), stateIDFile+".*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(id + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
