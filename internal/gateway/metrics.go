package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's figures for Prometheus.
type metrics struct {
	connections *prometheus.CounterVec
	startup     *prometheus.HistogramVec
	bytes       *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, open func() int) *metrics {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_gateway_connections_total", Help: "Connections that have ended, by how.",
		}, []string{"outcome"}),
		startup: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mayfly_gateway_startup_seconds", Help: "Time from accept to the first ReadyForQuery.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"waited"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_gateway_bytes_total", Help: "Bytes relayed by connections that have ended, without TLS.",
		}, []string{"direction"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.connections, m.startup, m.bytes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mayfly_gateway_connections_open", Help: "Open connections, also those that have not authenticated yet.",
		}, func() float64 { return float64(open()) }))
	}
	return m
}

func (m *metrics) started(s *session) {
	waited := "no"
	if s.woken {
		waited = "yes"
	}
	m.startup.WithLabelValues(waited).Observe(time.Since(s.accepted).Seconds())
}

func (m *metrics) ended(s *session, outcome string) {
	m.connections.WithLabelValues(outcome).Inc()
	m.bytes.WithLabelValues("to_backend").Add(float64(s.bytesUp.Load()))
	m.bytes.WithLabelValues("to_client").Add(float64(s.bytesDown.Load()))
}
