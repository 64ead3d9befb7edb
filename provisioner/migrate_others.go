package provisioner

import (
	"context"
	"encoding/json"
	"fmt"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
)

// touch notes which versions the pull request adds and which tables it works on, and which other open pull requests do the same. again
// is true for a run that was noted before.
func (s *Service) touch(ctx context.Context, p *mayfly.Preview, history *migrations.History, report *migrations.Report, again bool) error {
	var before migrations.Touched
	if p.ObservedSHA != "" || again {
		earlier, err := s.Store.Touched(ctx, p.ID)
		if err != nil {
			return err
		}
		if len(earlier) > 0 {
			if err := json.Unmarshal(earlier, &before); err != nil {
				return fmt.Errorf("read what preview %s touches: %w", p.Name, err)
			}
		}
	}
	encoded, err := json.Marshal(report.Touched(history, before))
	if err != nil {
		return fmt.Errorf("encode what preview %s touches: %w", p.Name, err)
	}
	return s.Store.SetTouched(ctx, p, encoded, inTheWay)
}

// forget has the others know that this pull request is in nobody's way any more.
func (s *Service) forget(ctx context.Context, p *mayfly.Preview) error {
	if p.PR == nil {
		return nil
	}
	return s.Store.SetTouched(ctx, p, nil, inTheWay)
}

// inTheWay finds for each pull request those that add the same version or work on the same table.
func inTheWay(all []store.Touched) (map[string]json.RawMessage, error) {
	what := make([]migrations.Touched, len(all))
	for i, t := range all {
		if len(t.Touched) == 0 {
			continue
		}
		if err := json.Unmarshal(t.Touched, &what[i]); err != nil {
			return nil, fmt.Errorf("read what preview %s touches: %w", t.Preview, err)
		}
	}
	found := map[string]json.RawMessage{}
	for i, t := range all {
		var others []migrations.OtherPullRequest
		for j, other := range all {
			if i == j {
				continue
			}
			versions, tables := what[i].InTheWay(what[j])
			if len(versions)+len(tables) > 0 {
				others = append(others, migrations.OtherPullRequest{
					Number: other.Number, Title: other.Title, Preview: other.Preview, Versions: versions, Tables: tables,
				})
			}
		}
		if others == nil {
			continue
		}
		encoded, err := json.Marshal(others)
		if err != nil {
			return nil, fmt.Errorf("encode what is in the way of preview %s: %w", t.Preview, err)
		}
		found[t.PreviewID] = encoded
	}
	return found, nil
}
