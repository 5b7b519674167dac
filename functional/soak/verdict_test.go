package main

import "testing"

func TestGrown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		series series
		want   bool
	}{
		{"level", series{values: []float64{5, 5, 5, 5, 5, 5}}, false},
		{"the first counts for nothing", series{values: []float64{1, 5, 5, 5, 5, 5}}, false},
		{"one more each time", series{values: []float64{5, 6, 7, 8, 9, 10}}, true},
		{"one more each time, and less than is allowed", series{number: 3, values: []float64{5, 6, 7, 8, 9, 10}}, false},
		{"a part more", series{part: 0.1, values: []float64{100, 100, 104, 108, 109, 111}}, false},
		{"more than a part more", series{part: 0.1, values: []float64{100, 100, 104, 111, 112, 113}}, true},
		{"up and down", series{values: []float64{5, 6, 9, 12, 6, 11}}, false},
		{"a step that stays", series{values: []float64{5, 6, 6, 9, 9, 9}}, true},
		{"down", series{values: []float64{9, 8, 7, 6, 5, 4}}, false},
		{"too few to tell", series{values: []float64{5, 6, 7, 8}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.series.grown(); got != tt.want {
				t.Errorf("%v: %v", tt.series.values, got)
			}
		})
	}
}
