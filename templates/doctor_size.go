package templates

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// SizeReport compares what the source takes on disk with what the template takes. Bytes; 0 is unknown.
type SizeReport struct {
	SourceDatabase  int64 `json:"source_database,omitempty"` // with catalogs, free space and dead rows, without the WAL
	SourceTables    int64 `json:"source_tables,omitempty"`
	SourceIndexes   int64 `json:"source_indexes,omitempty"`
	TemplateTables  int64 `json:"template_tables"`
	TemplateIndexes int64 `json:"template_indexes"`
}

// explainSizes says why the template is smaller, or larger, than the source.
func (r *run) explainSizes(ctx context.Context) error {
	conn, err := r.target.connectAdmin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	here, err := readSizes(ctx, conn)
	if err != nil {
		return fmt.Errorf("measure the tables of the template: %w", err)
	}
	sizes := &SizeReport{}
	for _, s := range here {
		sizes.TemplateTables += s.table
		sizes.TemplateIndexes += s.indexes
	}
	r.report().Sizes = sizes
	if r.facts == nil || len(r.facts.sizes) == 0 {
		return nil
	}
	sizes.SourceDatabase = r.facts.database
	for _, s := range r.facts.sizes {
		sizes.SourceTables += s.table
		sizes.SourceIndexes += s.indexes
	}
	r.target.find(Finding{
		Code: codeSizeExplained, Severity: SeverityInfo, Object: "size",
		Cause:   r.sizeCause(sizes),
		Done:    "the row counts of all tables are compared with the source, whatever the sizes",
		Samples: r.sizeSamples(here),
	})
	return nil
}

// sizeCause is the sentence that explains.
func (r *run) sizeCause(s *SizeReport) string {
	source, template := s.SourceTables+s.SourceIndexes, s.TemplateTables+s.TemplateIndexes
	text := fmt.Sprintf("%s in the source became %s in the template (tables %s to %s, indexes %s to %s)", shownSize(source), shownSize(template),
		shownSize(s.SourceTables), shownSize(s.TemplateTables), shownSize(s.SourceIndexes), shownSize(s.TemplateIndexes))
	if template > source {
		return text + ": masked values may be longer or compress less well than the originals"
	}
	var why []string
	if all := r.facts.liveRows + r.facts.deadRows; r.facts.deadRows > 0 && r.facts.deadRows*100/all > 0 {
		why = append(why, fmt.Sprintf("the source keeps dead rows (about %d%% of all, by its statistics)", r.facts.deadRows*100/all))
	} else {
		why = append(why, "the source keeps the space of updated and deleted rows")
	}
	why = append(why, "its indexes have grown half-empty pages, the template's are new")
	none := 0
	for _, t := range r.report().Tables {
		if t.StructureOnly {
			none++
		}
	}
	if none > 0 {
		why = append(why, fmt.Sprintf("the rules leave the rows of %d tables out", none))
	}
	if len(r.choices) > 0 {
		why = append(why, fmt.Sprintf("the rules take a part of the rows of %d tables", len(r.choices)))
	}
	return text + ": " + strings.Join(why, "; ") + "; masked values may be shorter. The source's WAL is not in these figures, and the template has none"
}

// sizeSamples names the tables that differ most.
func (r *run) sizeSamples(here map[relation]relationSize) []string {
	type change struct {
		name         relation
		before, diff int64
	}
	var all []change
	for name, s := range r.facts.sizes {
		before, after := s.table+s.indexes, here[name].table+here[name].indexes
		if diff := max(before-after, after-before); diff > 0 {
			all = append(all, change{name, before, diff})
		}
	}
	slices.SortFunc(all, func(a, b change) int {
		return cmp.Or(cmp.Compare(b.diff, a.diff), cmp.Compare(a.name.String(), b.name.String()))
	})
	var shown []string
	for _, c := range all[:min(samples, len(all))] {
		shown = append(shown, fmt.Sprintf("%s: %s to %s", c.name, shownSize(c.before), shownSize(here[c.name].table+here[c.name].indexes)))
	}
	return shown
}

// shownSize writes bytes for people: "1.2 GB", as disks are sold.
func shownSize(bytes int64) string {
	value, unit := float64(bytes), "bytes"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "bytes" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
