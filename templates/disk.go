package templates

import (
	"context"
	"encoding/json"
	"fmt"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// DiskReport is what a build was expected to take in the pool, told before anything was copied.
type DiskReport struct {
	// SourceBytes is the size of the source in its own unit: tables and their indexes without bloat, or the data in an archive as it
	// is there. EstimatedBytes is what the template was expected to take; FreeBytes what the pool had.
	SourceBytes    int64  `json:"source_bytes"`
	EstimatedBytes int64  `json:"estimated_bytes"`
	FreeBytes      int64  `json:"free_bytes"`
	Basis          string `json:"basis"` // how the estimate was made
}

// Experience is what the last template of a project took, for the next one's estimate. It is zero if there is none.
type Experience struct {
	SourceBytes, SizeBytes int64
}

// sizedSource is implemented by sources that can tell how large they are. share says which part of a table's rows is wanted.
type sizedSource interface {
	diskBytes(ctx context.Context, share func(relation) float64) (sourceSize, error)
}

// sourceSize is how large a source is, and what the template is expected to take unless experience says better.
type sourceSize struct {
	source, template int64
	basis            string
}

const (
	// diskOverhead is what an empty cluster and its WAL take while it is built.
	diskOverhead = 96 << 20
	// diskSlack is what a build may take beyond the finished template, in percent: sorting for indexes, segments of WAL.
	diskSlack = 10
)

// checkDisk estimates the space that the template takes, and refuses to begin if the pool does not have it.
func (r *run) checkDisk(ctx context.Context) error {
	size, err := r.sourceSize(ctx)
	if err != nil {
		return err
	}
	stat, err := r.volumes.Stat(ctx)
	if err != nil {
		return fmt.Errorf("ask the pool for its free space: %w", err)
	}
	disk := &DiskReport{SourceBytes: size.source, EstimatedBytes: size.template, FreeBytes: stat.FreeBytes, Basis: size.basis}
	if last := r.req.Experience; last.SourceBytes > 0 && size.source > 0 {
		disk.EstimatedBytes = int64(float64(size.source) * float64(last.SizeBytes) / float64(last.SourceBytes))
		disk.Basis = "what the last template took of a source of that kind"
	}
	if told := r.req.Project.Templates.DiskEstimate; told > 0 {
		disk.EstimatedBytes, disk.Basis = told, "templates.disk_estimate"
	}
	if disk.EstimatedBytes == 0 {
		return nil // nothing is known: the pool says so when it is full
	}
	r.report().Disk = disk
	need := disk.EstimatedBytes + disk.EstimatedBytes/100*diskSlack + diskOverhead
	if need <= stat.FreeBytes {
		return nil
	}
	return mayfly.Errorf(mayfly.CodePoolFull, "the build needs about %s in the pool, which has %s free (by %s)", gibibytes(need), gibibytes(stat.FreeBytes), disk.Basis).
		WithHint("enlarge the pool, or free space in it: remove previews (mayfly ls) and templates that nothing uses (mayfly template rm), " +
			"or keep fewer (keep_templates); if you know better what it takes, set templates.disk_estimate")
}

func (r *run) sourceSize(ctx context.Context) (sourceSize, error) {
	sized, ok := r.source.(sizedSource)
	if !ok {
		return sourceSize{}, nil
	}
	return sized.diskBytes(ctx, r.share)
}

func gibibytes(n int64) string { return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30)) }

// liveSizes reads what the tables and materialized views take, and how much of that is not bloat: rows by the last ANALYZE times the
// average width of a row. Without statistics the size of the files counts.
const liveSizes = `
SELECT n.nspname, c.relname, pg_catalog.pg_relation_size(c.oid),
	CASE WHEN c.reltoastrelid <> 0 THEN pg_catalog.pg_relation_size(c.reltoastrelid) ELSE 0 END,
	pg_catalog.pg_indexes_size(c.oid),
	coalesce((c.reltuples * (28 + (SELECT sum(s.avg_width * (1 - s.null_frac)) FROM pg_catalog.pg_stats s
		WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited)) * 1.1)::bigint, 0)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND ` + userObject

func (s *liveSource) diskBytes(ctx context.Context, share func(relation) float64) (sourceSize, error) {
	size := sourceSize{basis: "the sizes of the source's tables and indexes"}
	rows, err := s.conn.Query(ctx, liveSizes)
	if err != nil {
		return size, s.failed(ctx, "read the sizes of the source's tables", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name relation
		var heap, toast, indexes, live int64
		if err := rows.Scan(&name.schema, &name.name, &heap, &toast, &indexes, &live); err != nil {
			return size, s.failed(ctx, "read the sizes of the source's tables", err)
		}
		if live > 0 && live < heap { // indexes are as bloated as their table
			indexes = int64(float64(indexes) * float64(live) / float64(heap))
			heap = live
		}
		size.source += int64(float64(heap+toast+indexes) * share(name))
	}
	if err := rows.Err(); err != nil {
		return size, s.failed(ctx, "read the sizes of the source's tables", err)
	}
	size.template = size.source
	return size, nil
}

// archiveFactors are how many bytes of tables and indexes one byte of rows in an archive becomes: text as COPY writes it takes about as
// much in a table, indexes add half of that, and compression made a fraction of it.
func archiveFactor(compression string) float64 {
	switch compression {
	case "", "none":
		return 1.6
	case "lz4":
		return 4
	}
	return 6
}

func (s *archiveSource) diskBytes(_ context.Context, share func(relation) float64) (sourceSize, error) { //nolint:unparam // as sizedSource wants it
	factor := archiveFactor(s.toc.Header.Compression)
	size := sourceSize{basis: fmt.Sprintf("the size of the rows in the archive, times %g", factor)}
	for i := range s.toc.Entries {
		e := &s.toc.Entries[i]
		if e.Kind == "TABLE DATA" && e.HasData {
			size.source += int64(float64(s.toc.DataBytes(e)) * share(archiveTable(e)))
		}
	}
	size.template = int64(float64(size.source) * factor)
	return size, nil
}

func archiveTable(e *archive.Entry) relation { return relation{e.Schema, e.Tag} }

// experience returns what the newest template of a project took that was built from the same source.
func (s *Service) experience(ctx context.Context, p mayfly.Project) (Experience, error) {
	all, err := s.store.Templates(ctx, p.Name)
	if err != nil {
		return Experience{}, err
	}
	var newest *mayfly.Template
	for _, t := range all {
		if t.ReadyAt != nil && t.Source == p.Source.Describe() && (newest == nil || t.Version > newest.Version) {
			newest = t
		}
	}
	if newest == nil {
		return Experience{}, nil
	}
	var report struct {
		Disk *DiskReport `json:"disk"`
	}
	_ = json.Unmarshal(newest.Report, &report) // a report of another version says nothing
	if report.Disk == nil {
		return Experience{}, nil
	}
	return Experience{SourceBytes: report.Disk.SourceBytes, SizeBytes: newest.SizeBytes}, nil
}
