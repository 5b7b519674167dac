package systemd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCallsAreCounted(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	tests := []struct {
		name                 string
		ctx                  context.Context
		err                  error
		answered, unanswered float64
	}{
		{"an answer", t.Context(), nil, 1, 0},
		{"a no", t.Context(), &RefusedError{Code: noSuchUnit}, 1, 0},
		{"no connection", t.Context(), ErrDisconnected, 0, 1},
		{"time is up", late, errors.New("late"), 0, 1},
		{"given up by the caller", cancelled, errors.New("cancelled"), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			newMetrics(reg).called(tt.ctx, time.Now(), tt.err)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]float64{
				"fleet_agent_systemd_call_duration_seconds":  tt.answered,
				"fleet_agent_systemd_unanswered_calls_total": tt.unanswered,
			}
			for _, f := range families {
				m := f.GetMetric()[0]
				got := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				if n, asked := want[f.GetName()]; asked && n != got {
					t.Errorf("%s %v, want %v", f.GetName(), got, n)
				}
				delete(want, f.GetName())
			}
			if len(want) != 0 {
				t.Errorf("nothing is told of %v", want)
			}
		})
	}
}
