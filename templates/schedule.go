package templates

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/schedule"
	"github.com/mayflydb/mayfly/internal/store"
)

// Slots keep what comes next in the schedules of projects.
type Slots interface {
	// AdvanceSchedule calls decide with the slot of a project, nil if there is none, and stores what it returns, together with the
	// template that shall be built, if there is one. No other process is in it for that project at the same time.
	AdvanceSchedule(
		ctx context.Context, project string,
		decide func(now *store.ScheduledTemplate) (next *store.ScheduledTemplate, build *mayfly.Template, err error),
	) (*mayfly.Template, error)
	// TemplateSchedule returns the slot of a project, nil if there is none.
	TemplateSchedule(ctx context.Context, project string) (*store.ScheduledTemplate, error)
	// DropSchedule forgets it.
	DropSchedule(ctx context.Context, project string) error
}

// lateness is how long after its moment a build still counts as on time: the periodic job, and a restart, take a while.
const lateness = 5 * time.Minute

// RunSchedules asks for the builds whose time has come. It is called every few seconds, by any process and also by several at the same time:
// each slot leads to one build. After a pause that was longer than several slots there is one build that makes up for all of them.
func (s *Service) RunSchedules(ctx context.Context) error {
	var errs []error
	for _, p := range s.allProjects() {
		if err := s.runSchedule(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("schedule of project %s: %w", p.Name, err))
		}
	}
	return errors.Join(append(errs, s.CheckAges(ctx))...)
}

func (s *Service) runSchedule(ctx context.Context, p mayfly.Project) error {
	if p.Templates.Schedule == "" {
		return s.store.DropSchedule(ctx, p.Name)
	}
	plan, err := schedule.Parse(p.Templates.Schedule, p.Templates.TimeZone)
	if err != nil {
		return err
	}
	spec := fmt.Sprintf("%s +%s", plan, p.Templates.Jitter)
	now := s.clock().UTC()
	created, err := s.store.AdvanceSchedule(ctx, p.Name, func(slot *store.ScheduledTemplate) (*store.ScheduledTemplate, *mayfly.Template, error) {
		if slot != nil && slot.Spec == spec && now.Before(slot.DueAt) {
			return nil, nil, nil
		}
		next := &store.ScheduledTemplate{Project: p.Name, Spec: spec, SlotAt: plan.Next(now)}
		next.DueAt = plan.Jittered(next.SlotAt, p.Templates.Jitter)
		if slot == nil {
			return next, nil, nil
		}
		next.LastSlotAt, next.LastRunAt, next.LastTemplateID, next.LastOutcome = slot.LastSlotAt, slot.LastRunAt, slot.LastTemplateID, slot.LastOutcome
		if slot.Spec != spec { // somebody changed it: what the old one would have done is not made up for
			return next, nil, nil
		}
		next.LastSlotAt, next.LastRunAt, next.LastOutcome = &slot.SlotAt, &now, "on time"
		cause := mayfly.CauseSchedule
		if late := now.Sub(slot.DueAt); late > lateness {
			cause = mayfly.CauseCatchUp
			next.LastOutcome = fmt.Sprintf("made up for, %s late", late.Round(time.Second))
		}
		return next, s.record(p, cause, ""), nil
	})
	if err != nil {
		return err
	}
	if created != nil {
		s.log.InfoContext(ctx, "template requested by schedule", "template", created.ID, "project", p.Name, "version", created.Version, "cause", created.Cause)
	}
	return nil
}

// Outlook is what is coming for a project's templates.
type Outlook struct {
	// Schedule and TimeZone are as configured, NextAt when the next build begins and LastOutcome what became of the last slot.
	Schedule, TimeZone string
	NextAt             *time.Time
	LastRunAt          *time.Time
	LastOutcome        string
	// MaxAge is how old the current template may be, 0 for any age.
	MaxAge time.Duration
}

// Outlook returns what is coming for a project. CodeNotFound if there is no such project.
func (s *Service) Outlook(ctx context.Context, project string) (Outlook, error) {
	p, err := s.project(project)
	if err != nil {
		return Outlook{}, err
	}
	o := Outlook{Schedule: p.Templates.Schedule, TimeZone: p.Templates.TimeZone, MaxAge: p.Templates.MaxAge}
	if o.Schedule == "" {
		return o, nil
	}
	slot, err := s.store.TemplateSchedule(ctx, project)
	if err != nil || slot == nil {
		return o, err
	}
	due := slot.DueAt.UTC()
	o.NextAt, o.LastRunAt, o.LastOutcome = &due, slot.LastRunAt, slot.LastOutcome
	return o, nil
}

// TooOld reports whether a project's current template is older than it may be.
func (o Outlook) TooOld(current *mayfly.Template, now time.Time) bool {
	return current != nil && o.MaxAge > 0 && now.Sub(current.CreatedAt) > o.MaxAge
}

// ageWarnings remembers when the log was last told of a template that is too old.
type ageWarnings struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// ageWarnInterval is how often the log is told of the same template that is too old.
const ageWarnInterval = 24 * time.Hour

// CheckAges warns of templates that are older than they may be, once a day each.
func (s *Service) CheckAges(ctx context.Context) error {
	for _, p := range s.allProjects() {
		all, err := s.store.Templates(ctx, p.Name)
		if err != nil {
			return err
		}
		current, now := Current(all), s.clock()
		if !(Outlook{MaxAge: p.Templates.MaxAge}).TooOld(current, now) || !s.ages.due(current.ID, now) {
			continue
		}
		s.log.WarnContext(ctx, "the template that new previews use is older than templates.max_age", "project", p.Name, "template", current.ID,
			"version", current.Version, "age", now.Sub(current.CreatedAt).Round(time.Minute), "max_age", p.Templates.MaxAge)
	}
	return nil
}

// RefreshMetrics brings the metrics of ages up to date. Each process does this for itself.
func (s *Service) RefreshMetrics(ctx context.Context) error {
	for _, p := range s.allProjects() {
		all, err := s.store.Templates(ctx, p.Name)
		if err != nil {
			return err
		}
		s.metrics.standing(p, all)
		current := Current(all)
		if current == nil {
			continue
		}
		drifts, ok := s.store.(Drifts)
		if !ok {
			continue
		}
		n, known, err := drifts.DriftCount(ctx, current.ID)
		if err != nil {
			return err
		}
		if known {
			s.metrics.drift.WithLabelValues(p.Name).Set(float64(n))
		}
	}
	return nil
}

// due reports whether it is time to warn again, and takes it that this is done.
func (a *ageWarnings) due(templateID string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, warned := a.last[templateID]; warned && now.Sub(last) < ageWarnInterval {
		return false
	}
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[templateID] = now
	return true
}
