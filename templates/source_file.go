package templates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
	"github.com/mayflydb/mayfly/templates/quarantine"
)

// open opens the project's source: a server, a file that can be streamed, or one that is restored in quarantine first.
func (r *run) open(ctx context.Context) (source, error) {
	s := r.req.Project.Source
	opened, err := openSource(ctx, s, liveOptionsOf(s, r.workers, r.clock))
	if opened, err = r.needsServer(opened, err); err == nil {
		if err := checkStreamed(s, opened.describe()); err != nil {
			opened.close()
			return nil, err
		}
		return opened, nil
	}
	if !archive.NeedsRestore(err) && !errors.Is(err, errNeedsServer) {
		return nil, err
	}
	why := err
	err = r.phase(ctx, PhaseQuarantine, func(ctx context.Context) (string, error) {
		opened, err = r.openQuarantined(ctx, s, why)
		if err != nil {
			return "", err
		}
		return opened.describe().Format, nil
	})
	r.meter.enter(PhaseConnect)
	return opened, err
}

// codeRestoredToSelect is the code of the finding about an archive that was restored for its rows to be chosen.
const codeRestoredToSelect = "restored_to_select_rows"

// errNeedsServer is why an archive that could be streamed is restored all the same.
var errNeedsServer = errors.New("only a server can choose rows")

// needsServer closes an archive from which rows have to be chosen: conditions are SQL, and rows are found again by where they are
// in a table. It is restored in quarantine, whose files are destroyed: rows that are not chosen never are in the template's.
func (r *run) needsServer(opened source, err error) (source, error) {
	s, isArchive := opened.(*archiveSource)
	if err != nil || !isArchive || !r.req.Rules.SelectsRows() {
		return opened, err
	}
	if err := checkStreamed(r.req.Project.Source, s.describe()); err != nil {
		s.close()
		return nil, err
	}
	s.close()
	r.report().Findings = append(r.report().Findings, Finding{
		Code: codeRestoredToSelect, Severity: SeverityInfo, Object: "source " + s.describe().Database,
		Cause:  "the rules choose rows, and only a server can: the archive cannot be streamed as it is",
		Done:   "restored in a quarantine without a network, read there, and destroyed",
		Advice: "nothing; it takes the time and the space of a restore",
	})
	return nil, &serverNeededError{header: s.toc.Header}
}

// serverNeededError is errNeedsServer with what is known of the archive.
type serverNeededError struct{ header archive.Header }

func (e *serverNeededError) Error() string { return errNeedsServer.Error() }
func (e *serverNeededError) Unwrap() error { return errNeedsServer }

// headerOf returns the header of an archive that is restored because of an error.
func headerOf(why error) (archive.Header, bool) {
	var e *serverNeededError
	if errors.As(why, &e) {
		return e.header, true
	}
	return archive.HeaderOf(why)
}

// checkStreamed refuses settings that a source which is not restored could not honour.
func checkStreamed(s mayfly.Source, is SourceReport) error {
	switch {
	case s.Archive == "":
		return nil
	case s.WAL != "" || s.RecoverTo != nil:
		return notABackup(is.Format)
	case s.Database != "" && is.Database != "" && s.Database != is.Database:
		return mayfly.Errorf(mayfly.CodeInvalid, "the archive is of the database %q, not of %q", is.Database, s.Database).
			WithHint("leave out source.database: the archive holds one database only")
	}
	return nil
}

func notABackup(format string) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "the source is not a base backup (%s): it has no WAL to replay", format).
		WithHint("leave out source.wal and source.recover_to, or give what pg_basebackup writes")
}

// quarantinedSource is a live source that runs in quarantine.
type quarantinedSource struct {
	*liveSource
	report SourceReport
	told   []Finding
}

func (s *quarantinedSource) describe() SourceReport { return s.report }
func (s *quarantinedSource) findings() []Finding    { return append(s.told, s.liveSource.findings()...) }

// openQuarantined restores a source in quarantine and opens what runs there. why is archive.Open's error.
func (r *run) openQuarantined(ctx context.Context, s mayfly.Source, why error) (source, error) {
	format, compression, err := archive.Detect(s.Archive)
	if err != nil {
		return nil, err
	}
	if format != archive.BaseBackup && (s.WAL != "" || s.RecoverTo != nil) {
		return nil, notABackup(string(format))
	}
	report := SourceReport{Kind: "archive", Archive: s.Archive, Format: string(format)}
	if compression != archive.CompressionNone {
		report.Format += ", in " + string(compression)
	}
	restored, err := r.restoreQuarantined(ctx, s, format, &report, why)
	if err != nil {
		return nil, err
	}
	r.quarantined = restored
	config, err := restored.Config()
	if err != nil {
		return nil, err
	}
	options := liveOptionsOf(s, r.workers, r.clock)
	options.restored = true
	opened, err := openLiveConfig(ctx, config, options)
	if err != nil {
		return nil, fmt.Errorf("read the restored source: %w", err)
	}
	live, ok := opened.(*liveSource)
	if !ok {
		return nil, fmt.Errorf("a live source is a %T", opened)
	}
	is := live.describe()
	report.ServerVersion, report.Encoding, report.Snapshot = is.ServerVersion, is.Encoding, is.Snapshot
	if report.Database == "" {
		report.Database = restored.Name()
	}
	q := &quarantinedSource{liveSource: live, report: report}
	for _, f := range restored.Findings {
		q.told = append(q.told, Finding{
			Code: f.Code, Severity: Severity(f.Severity), Object: f.Object, Cause: f.Cause, Done: f.Done, Advice: f.Advice, Count: f.Count, Samples: f.Samples,
		})
	}
	return q, nil
}

func (r *run) restoreQuarantined(ctx context.Context, s mayfly.Source, format archive.Format, report *SourceReport, why error) (*quarantine.Cluster, error) {
	opts := quarantine.Options{
		Engine: r.engine, Volumes: r.volumes, Logger: r.log, TemplateID: r.id, Project: r.req.Project.Name,
		Image: r.findImage, Database: s.Database, Preferred: r.req.Project.Postgres.Database,
	}
	switch format {
	case archive.BaseBackup:
		opts.Image = r.exactImage
		return quarantine.RestoreBackup(ctx, opts, quarantine.Backup{Path: s.Archive, WAL: s.WAL, RecoverTo: s.RecoverTo})
	case archive.Script, archive.Plain:
		open := func() (io.ReadCloser, error) { return openScript(s.Archive) }
		major, encoding, err := scriptHead(open)
		if err != nil {
			return nil, err
		}
		return quarantine.RestoreScript(ctx, opts, major, encoding, open)
	default:
		major := 0
		if header, found := headerOf(why); found {
			major, report.Database, report.DumpVersion = header.ServerMajor(), header.Database, header.DumpVersion
		}
		return quarantine.RestoreArchive(ctx, opts, major, "", format, s.Archive)
	}
}

// newestImage returns the newest image that is there.
func (r *run) newestImage(ctx context.Context) (image driver.Image, err error) {
	for major := newestMajor; major >= oldestMajor; major-- {
		if image, err = r.engine.Image(ctx, "", major); mayfly.ErrorCode(err) != mayfly.CodeImageUnavailable {
			break
		}
	}
	return image, err
}

// exactImage returns an image of just that version, the project's own if it is of it.
func (r *run) exactImage(ctx context.Context, major int) (driver.Image, error) {
	if pg := r.req.Project.Postgres; pg.Image != "" {
		if image, err := r.engine.Image(ctx, pg.Image, pg.Major); err == nil && image.Major == major {
			return image, nil
		}
	}
	return r.engine.Image(ctx, "", major)
}

// leaveQuarantine destroys the restored source. Until then the pool holds rows that are not masked, so a build for which
// it fails has failed.
func (r *run) leaveQuarantine(ctx context.Context) error {
	if r.quarantined == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quarantineTimeout)
	defer cancel()
	return r.quarantined.Destroy(ctx)
}

// quarantineTimeout bounds overwriting a whole cluster.
const quarantineTimeout = time.Hour

// uncompressedFile closes both.
type uncompressedFile struct {
	io.ReadCloser
	file *os.File
}

func (f *uncompressedFile) Close() error {
	_ = f.ReadCloser.Close()
	return f.file.Close()
}

// Read turns damage into an error for people. The script's own end is io.EOF.
func (f *uncompressedFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the very value is what ends a stream
		err = mayfly.Errorf(mayfly.CodeSourceInvalid, "the script is truncated or damaged: its compression cannot be undone: %w", err).
			WithHint("dump again, and look whether the disk was full or the transfer broke off")
	}
	return n, err
}

func openScript(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "the script cannot be opened: %w", err).
			WithHint("source.archive is a path on the machine that Mayfly runs on")
	}
	plain, _, err := archive.Uncompress(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &uncompressedFile{plain, file}, nil
}

var (
	dumpedFrom     = regexp.MustCompile(`(?m)^-- Dumped from database version (\d+)`)
	scriptEncoding = regexp.MustCompile(`(?m)^SET client_encoding = '([A-Za-z0-9_-]+)';`)
)

// scriptHead reads from a script's first lines what server it is from and what its text is in, if they say so.
func scriptHead(open func() (io.ReadCloser, error)) (major int, encoding string, err error) {
	script, err := open()
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = script.Close() }()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(script, head)
	if err != nil && n == 0 {
		return 0, "", err
	}
	if m := dumpedFrom.FindSubmatch(head[:n]); m != nil {
		major, _ = strconv.Atoi(string(m[1]))
	}
	if m := scriptEncoding.FindSubmatch(head[:n]); m != nil {
		encoding = string(m[1])
	}
	return major, encoding, nil
}
