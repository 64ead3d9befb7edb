package quarantine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Backup is a physical base backup.
type Backup struct {
	Path      string     // data directory, directory with base.tar, or a tar of either
	WAL       string     // directory or tar with further WAL segments, or ""
	RecoverTo *time.Time // nil for the end of the WAL
}

// RestoreBackup restores a base backup and replays its WAL.
func RestoreBackup(ctx context.Context, opts Options, backup Backup) (*Cluster, error) {
	return restore(ctx, opts, func(ctx context.Context, c *Cluster) error {
		b := &backupRestore{Cluster: c, backup: backup}
		for _, step := range []func(context.Context) error{b.findImage, c.makeVolume, b.unpack, b.check, b.verify, b.recover, b.open, c.chooseDatabase, b.report} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

type backupRestore struct {
	*Cluster
	backup  Backup
	label   string // backup_label
	strange []string
	strangers,
	segments, archived int
	tablespaces bool
	manifest    []byte // nil if there is none
	ignored     []string
	control     map[string]string // of pg_controldata
	links       []string
}

func (b *backupRestore) findImage(ctx context.Context) error {
	major, err := backupMajor(ctx, b.backup.Path)
	if err != nil {
		return err
	}
	b.Image, err = b.opts.Image(ctx, major)
	if err == nil && b.Image.Major != major {
		err = mayfly.Errorf(mayfly.CodeImageUnavailable, "the image %s is of PostgreSQL %d", b.Image.Ref, b.Image.Major)
	}
	if err != nil {
		return mayfly.Errorf(mayfly.CodeImageUnavailable, "the base backup is of PostgreSQL %d and only a server of that version can read it: %w", major, err).
			WithHint("make an image of PostgreSQL %d available (docs/images.md); the template itself may be of a newer version", major)
	}
	return nil
}

// directories are those that a server expects, and that a backup may lack because they were empty.
func directories() []string {
	return []string{
		"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings", "pg_logical/snapshots", "pg_multixact",
		"pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp",
		"pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_wal/archive_status", "pg_xact",
	}
}

const (
	unpackScript = `mkdir -m 700 "$1/pgdata" "$1/wal" && exec tar -x -f - -C "$1"`
	maxManifest  = 512 << 20
	maxLabel     = 64 << 10
)

// unpack streams the files that a cluster consists of, and no others, into a tar in a container.
func (b *backupRestore) unpack(ctx context.Context) error {
	return b.unpackTar(ctx, unpackScript, b.write)
}

func (b *backupRestore) write(ctx context.Context, to *tar.Writer) error {
	made := map[string]bool{}
	for _, name := range directories() {
		if err := makeDirectory(to, "pgdata/"+name, made); err != nil {
			return err
		}
	}
	err := eachMember(ctx, b.backup.Path, func(m member) error { return b.writeMember(to, m, made) })
	if err != nil || b.backup.WAL == "" {
		return err
	}
	first, seen := b.firstSegment(), map[string]bool{}
	return eachWAL(ctx, b.backup.WAL, func(name string, r io.Reader) error {
		plain, partial := strings.CutSuffix(name, ".partial")
		if len(plain) == 24 && plain[8:] < first || partial && seen[plain] {
			return nil
		}
		seen[plain] = true
		b.archived++
		return writeWAL(to, plain, r)
	})
}

func (b *backupRestore) writeMember(to *tar.Writer, m member, made map[string]bool) error {
	switch {
	case incrementalFile.MatchString(m.name):
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup is an incremental one").
			WithHint("put it together with the backups before it: pg_combinebackup writes a whole one")
	case m.data == nil:
		b.links = append(b.links, m.name)
		return nil
	case !keptFile.MatchString(m.name):
		if !usualFile.MatchString(m.name) {
			if b.strangers++; len(b.strange) < 5 {
				b.strange = append(b.strange, m.name)
			}
		}
		return nil
	}
	switch {
	case m.name == "backup_label" || m.name == "backup_manifest":
		text, err := io.ReadAll(io.LimitReader(m.data, min(m.size, maxManifest)))
		if err != nil {
			return damaged(m.name, err)
		}
		if m.name == "backup_manifest" {
			b.manifest = text
		} else if b.label = string(text); len(text) > maxLabel {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup's backup_label is not one")
		}
		m.data = bytes.NewReader(text)
	case strings.HasPrefix(m.name, "pg_wal/") && len(m.name) == len("pg_wal/")+24:
		b.segments++
	case strings.HasPrefix(m.name, "pg_tblspc/"):
		b.tablespaces = true
	}
	directory := m.name[:max(0, strings.LastIndexByte(m.name, '/'))]
	if err := makeDirectory(to, "pgdata/"+directory, made); err != nil {
		return err
	}
	return writeFile(to, "pgdata/"+m.name, m.size, m.data)
}

// makeDirectory adds a directory, after those that it is in.
func makeDirectory(to *tar.Writer, name string, made map[string]bool) error {
	name = strings.TrimSuffix(name, "/")
	if name == "pgdata" || made[name] {
		return nil
	}
	if err := makeDirectory(to, name[:strings.LastIndexByte(name, '/')], made); err != nil {
		return err
	}
	made[name] = true
	if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

var startSegment = regexp.MustCompile(`(?m)^START WAL LOCATION: [0-9A-F]+/[0-9A-F]+ \(file ([0-9A-F]{24})\)`)

// firstSegment returns the first WAL segment that is needed, without its timeline.
func (b *backupRestore) firstSegment() string {
	if m := startSegment.FindStringSubmatch(b.label); m != nil {
		return m[1][8:]
	}
	return ""
}

var controlLine = regexp.MustCompile(`(?m)^([A-Za-z_][^:]*): +(.*)$`)

// check refuses what cannot become a consistent cluster.
func (b *backupRestore) check(ctx context.Context) error {
	for _, link := range b.links {
		if strings.HasPrefix(link, "pg_tblspc/") && strings.Count(link, "/") == 1 {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup has tablespaces outside of its directory, and symbolic links are not followed").
				WithHint("take the backup with `pg_basebackup -Ft`: that puts each tablespace into a tar beside base.tar")
		}
	}
	if strings.Contains(b.label, "INCREMENTAL FROM LSN") {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup is an incremental one").
			WithHint("put it together with the backups before it: pg_combinebackup writes a whole one")
	}
	var out bytes.Buffer
	result, err := b.run(ctx, driver.RunSpec{Command: []string{"pg_controldata", "-D", driver.DataDir}, Env: []string{"LC_ALL=C", "TZ=UTC"}, Volume: b.id, Stdout: &out})
	if err != nil {
		return fmt.Errorf("read the backup's control file: %w", err)
	}
	if result.ExitCode != 0 || bytes.Contains(out.Bytes(), []byte("WARNING:")) {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup's control file (global/pg_control) is missing or damaged").
			WithHint("take the backup again with pg_basebackup")
	}
	b.control = map[string]string{}
	for _, m := range controlLine.FindAllStringSubmatch(out.String(), -1) {
		b.control[m[1]] = m[2]
	}
	state := b.control["Database cluster state"]
	if b.label == "" && state != "shut down" {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the directory is a copy of a running server (%q, and without a backup_label): it may be torn", state).
			WithHint("take the backup with pg_basebackup, or copy the directory while the server is stopped")
	}
	if b.label == "" && (b.backup.RecoverTo != nil || b.archived > 0) {
		return mayfly.Errorf(mayfly.CodeInvalid, "WAL cannot be replayed onto a copy of a stopped server").
			WithHint("leave out source.wal and source.recover_to, or give a backup of pg_basebackup")
	}
	return b.checkTarget()
}

// checkTarget refuses a moment before the backup. The server would notice only if a transaction ended in between; the
// control file is copied last, so its checkpoint is one that the backup was under way at.
func (b *backupRestore) checkTarget() error {
	if b.backup.RecoverTo == nil {
		return nil
	}
	at, err := time.Parse("Mon Jan _2 15:04:05 2006", b.control["Time of latest checkpoint"])
	if err != nil {
		return fmt.Errorf("read the time of the backup's checkpoint: %w", err)
	}
	if b.backup.RecoverTo.Before(at) {
		return tooEarly(*b.backup.RecoverTo)
	}
	return nil
}

// manifestFiles is what of a backup_manifest is read here (PostgreSQL docs, "Backup Manifest Format").
type manifestFiles struct {
	Files []struct {
		Path    string `json:"Path"`         //nolint:tagliatelle // PostgreSQL's names
		Encoded string `json:"Encoded-Path"` //nolint:tagliatelle // PostgreSQL's names
	} `json:"Files"` //nolint:tagliatelle // PostgreSQL's names
}

// maxIgnored bounds the files of a manifest that were left out: configuration, and what logical slots keep.
const maxIgnored = 2000

// verify compares the files with the backup's manifest, if it has one.
func (b *backupRestore) verify(ctx context.Context) error {
	if b.manifest == nil {
		b.find(Finding{
			Code: "backup_not_verified", Severity: Info, Object: "base backup", Cause: "it has no backup_manifest",
			Done: "restored as it is", Advice: "pg_basebackup of PostgreSQL 13 and newer writes one, unless told --no-manifest",
		})
		return nil
	}
	var listed manifestFiles
	if err := json.Unmarshal(b.manifest, &listed); err != nil {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup's backup_manifest is truncated or damaged").WithHint("take the backup again")
	}
	b.manifest = []byte{}
	command := []string{"pg_verifybackup", "--quiet"}
	if b.segments == 0 {
		command = append(command, "--no-parse-wal")
	}
	for _, f := range listed.Files {
		name := f.Path
		if f.Encoded != "" {
			raw, _ := hex.DecodeString(f.Encoded)
			name = string(raw)
		}
		if !keptFile.MatchString(name) {
			b.ignored = append(b.ignored, name)
		}
	}
	if len(b.ignored) > maxIgnored {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup's manifest lists %d files that no cluster has, %s first", len(b.ignored), strconv.Quote(b.ignored[0]))
	}
	for _, name := range b.ignored {
		command = append(command, "--ignore="+name)
	}
	result, err := b.run(ctx, driver.RunSpec{Command: append(command, driver.DataDir), Volume: b.id, Env: []string{"LC_ALL=C"}})
	if err != nil {
		return fmt.Errorf("verify the base backup: %w", err)
	}
	if result.ExitCode != 0 {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup is not what its manifest says: %s", firstLines(string(result.Stderr), 3)).
			WithHint("take the backup again: files were damaged, changed or lost since it was made")
	}
	return nil
}

func firstLines(text string, n int) string {
	lines := slices.Collect(strings.Lines(strings.TrimSpace(text)))
	for i := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimSpace(lines[i]), "pg_verifybackup: ")
	}
	return strings.Join(lines[:min(n, len(lines))], "; ")
}

// configureScript writes the configuration: ours, whatever the source's was.
const configureScript = `
set -eu
printf '%s' "$2" >"$1/pg_hba.conf"
printf '%s' "$3" >"$1/pg_ident.conf"
printf '%s' "$4" >"$1/postgresql.conf"
: >"$1/postgresql.auto.conf"
[ "$5" = no ] || : >"$1/recovery.signal"
`

// configure writes the configuration for the recovery.
func (b *backupRestore) configure(ctx context.Context) error {
	var settings strings.Builder
	// What the WAL was made with, recovery must have room for.
	for setting, field := range map[string]string{"max_prepared_transactions": "max_prepared_xacts setting", "max_worker_processes": "max_worker_processes setting"} {
		if n, err := strconv.Atoi(b.control[field]); err == nil && n > 0 {
			fmt.Fprintf(&settings, "%s = %d\n", setting, n)
		}
	}
	targeted := "no"
	if b.backup.RecoverTo != nil || b.archived > 0 {
		targeted = "yes"
		fmt.Fprintf(&settings, "restore_command = 'cp \"%s/wal/%%f\" \"%%p\"'\nrecovery_target_timeline = 'latest'\n", driver.VolumeMount)
	}
	if b.backup.RecoverTo != nil {
		fmt.Fprintf(&settings, "recovery_target_time = '%s'\nrecovery_target_action = 'promote'\n", b.backup.RecoverTo.UTC().Format("2006-01-02 15:04:05.999999+00"))
	}
	result, err := b.run(ctx, driver.RunSpec{
		Command: []string{"sh", "-c", configureScript, "configure", driver.DataDir, cluster.AccessRules, cluster.AccessMap, settings.String(), targeted}, Volume: b.id,
	})
	if err != nil {
		return fmt.Errorf("configure the quarantine: %w", err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("configure the quarantine: exit code %d: %s", result.ExitCode, result.Stderr)
	}
	return nil
}
