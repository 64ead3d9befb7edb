package templates

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
)

// metrics are the figures of builds for Prometheus. Counts are of this process; ages are those of the state database.
type metrics struct {
	builds      *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	lastSuccess *prometheus.GaugeVec
	created     *prometheus.GaugeVec
	maxAge      *prometheus.GaugeVec
	drift       *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_template_builds_total", Help: "Builds of templates that have ended, by how: ready, failed or cancelled.",
		}, []string{"project", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mayfly_template_build_seconds", Help: "How long builds of templates took.",
			Buckets: []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800},
		}, []string{"project", "outcome"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_template_last_success_timestamp_seconds", Help: "When a build of the project last became ready.",
		}, []string{"project"}),
		created: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_template_current_created_timestamp_seconds",
			Help: "When the build of the template that new previews use was begun; its age is time() minus this.",
		}, []string{"project"}),
		maxAge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_template_max_age_seconds", Help: "How old the project's template may be (templates.max_age); absent if there is no limit.",
		}, []string{"project"}),
		drift: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_template_migration_drift",
			Help: "Migrations of the current template that are merged and not deployed, or deployed and not merged.",
		}, []string{"project"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.builds, m.duration, m.lastSuccess, m.created, m.maxAge, m.drift)
	}
	return m
}

// outcome names how a build ended.
func outcome(err error) string {
	switch mayfly.ErrorCode(err) {
	case "":
		return "ready"
	case mayfly.CodeCancelled:
		return "cancelled"
	}
	return "failed"
}

// built counts a build; took is 0 for one that nobody had begun.
func (m *metrics) built(project, outcome string, took time.Duration) {
	m.builds.WithLabelValues(project, outcome).Inc()
	if took == 0 {
		return
	}
	m.duration.WithLabelValues(project, outcome).Observe(took.Seconds())
}

// standing tells of a project's templates as they are on record.
func (m *metrics) standing(p mayfly.Project, all []*mayfly.Template) {
	for _, outcome := range []string{"ready", "failed", "cancelled"} {
		m.builds.WithLabelValues(p.Name, outcome) // so that a rate can be told from the first one on
	}
	var last time.Time
	for _, t := range all {
		if t.ReadyAt != nil && t.ReadyAt.After(last) {
			last = *t.ReadyAt
		}
	}
	set := func(gauge *prometheus.GaugeVec, at time.Time) {
		if at.IsZero() {
			gauge.DeleteLabelValues(p.Name)
			return
		}
		gauge.WithLabelValues(p.Name).Set(float64(at.UnixMilli()) / 1000)
	}
	set(m.lastSuccess, last)
	var created time.Time
	if current := Current(all); current != nil {
		created = current.CreatedAt
	}
	set(m.created, created)
	if p.Templates.MaxAge > 0 {
		m.maxAge.WithLabelValues(p.Name).Set(p.Templates.MaxAge.Seconds())
	}
}
