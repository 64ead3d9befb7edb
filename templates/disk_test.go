package templates

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// smallPool is a pool that says how much is free.
type smallPool struct {
	driver.Volumes
	free int64
}

func (p smallPool) Stat(ctx context.Context) (driver.PoolStat, error) {
	stat, err := p.Volumes.Stat(ctx)
	stat.FreeBytes = p.free
	return stat, err
}

const bulkySQL = `
	CREATE TABLE bulk (id int PRIMARY KEY, filler text);
	INSERT INTO bulk SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) n;
	CREATE INDEX ON bulk (filler);
	DELETE FROM bulk WHERE id % 2 = 0;
	CREATE TABLE events (id int PRIMARY KEY, filler text);
	INSERT INTO events SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) n;
	ANALYZE;`

const bulkyRules = `
version: 1
tables:
  public.bulk: {columns: {id: keep, filler: keep}}
  public.events: {rows: none}
`

func TestDiskIsEstimatedAndRefusedEarly(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, bulkySQL)
	archive := b.archiveOf(t, endpoint, true)
	begun := 0
	for name, test := range map[string]struct {
		source mayfly.Source
		free   int64
		change func(*BuildRequest)
		want   string // "" for a build that begins
		basis  string
	}{
		"live":       {mayfly.Source{DSN: endpoint.DSN()}, 90 << 20, nil, "0.09 GiB free", "sizes of the source's tables"},
		"archive":    {mayfly.Source{Archive: archive}, 90 << 20, nil, "0.09 GiB free", "rows in the archive"},
		"told":       {mayfly.Source{Archive: archive}, 1 << 40, func(r *BuildRequest) { r.Project.Templates.DiskEstimate = 2 << 40 }, "2252.", "templates.disk_estimate"},
		"experience": {mayfly.Source{DSN: endpoint.DSN()}, 4 << 30, func(r *BuildRequest) { r.Experience = Experience{1 << 20, 1 << 30} }, "4.00 GiB free", "the last template"},
		"bloat and no rows": {mayfly.Source{DSN: endpoint.DSN()}, 150 << 20, func(r *BuildRequest) {
			r.Progress = func(p Progress) {
				if p.Phase == PhaseSchema {
					begun++
				}
			}
		}, "", ""},
	} {
		req := request(t, test.source, bulkyRules)
		if test.change != nil {
			test.change(&req)
		}
		builder := NewBuilder(BuilderOptions{Engine: b.engine, Volumes: smallPool{b.volumes, test.free}, Logger: slog.New(slog.DiscardHandler), Clock: time.Now})
		result, err := builder.Build(t.Context(), req)
		if test.want == "" {
			if err != nil || begun == 0 || result.Report.Disk == nil || result.Report.Disk.EstimatedBytes < 10<<20 || result.Report.Disk.EstimatedBytes > 30<<20 {
				t.Errorf("%s: %v, disk %+v", name, err, result.Report.Disk)
			}
			if err := b.builder.Discard(t.Context(), req.Template.ID); err != nil {
				t.Error(err)
			}
			continue
		}
		if mayfly.ErrorCode(err) != mayfly.CodePoolFull || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.basis) ||
			!strings.Contains(mayfly.ErrorHint(err), "disk_estimate") {
			t.Errorf("%s: %v", name, err)
		}
		b.nothingLeft(t, req.Template.ID)
	}
}
