package figure

import (
	"math"
	"testing"
	"time"
)

func TestRatioAndMet(t *testing.T) {
	floor := func(v float64) *Beside { return &Beside{Name: "floor", Value: v} }
	for _, tt := range []struct {
		name  string
		f     Figure
		ratio float64 // 0: none
		met   bool
	}{
		{"told for what it is", Figure{Value: 7}, 0, true},
		{"beside a floor", Figure{Value: 6, Beside: floor(4)}, 1.5, true},
		{"the floor wins over the limit", Figure{Value: 6, Beside: floor(4), Want: AtMost(60)}, 1.5, true},
		{"a floor of nothing", Figure{Value: 6, Beside: floor(0), Want: AtMost(3)}, 0, false},
		{"at the limit", Figure{Value: 10, Want: AtMost(10)}, 1, true},
		{"above the limit", Figure{Value: 11, Want: AtMost(10)}, 1.1, false},
		{"enough", Figure{Value: 2500, Want: AtLeast(2500)}, 1, true},
		{"too little", Figure{Value: 1250, Want: AtLeast(2500)}, 0.5, false},
		{"none was wanted and none came", Figure{Value: 0, Want: AtMost(0)}, 0, true},
		{"none was wanted and one came", Figure{Value: 1, Want: AtMost(0)}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ratio, ok := tt.f.Ratio(); ok != (tt.ratio != 0) || math.Abs(ratio-tt.ratio) > 1e-9 {
				t.Errorf("the ratio is %v, %v", ratio, ok)
			}
			if met := tt.f.Met(); met != tt.met {
				t.Errorf("met: %v", met)
			}
		})
	}
}

func TestExponent(t *testing.T) {
	for _, tt := range []struct {
		name string
		y    func(x float64) float64
		want float64
	}{
		{"constant", func(float64) float64 { return 3 }, 0},
		{"in proportion", func(x float64) float64 { return 3 * x }, 1},
		{"quadratic", func(x float64) float64 { return 0.001 * x * x }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Series
			for _, x := range []float64{1000, 10000, 100000, 1000000} {
				s.Points = append(s.Points, Point{x, tt.y(x)})
			}
			if got := s.Exponent(); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("the exponent is %v", got)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // from the highest
	}
	for _, tt := range []struct {
		name string
		took []time.Duration
		q    float64
		want time.Duration
	}{
		{"the median of three", []time.Duration{9, 1, 5}, 0.5, 5},
		{"the lower median of four", []time.Duration{4, 3, 2, 1}, 0.5, 2},
		{"p99 of a hundred", hundred, 0.99, 99},
		{"the median of a hundred", hundred, 0.5, 50},
		{"p99 of a few is the worst", []time.Duration{1, 2, 50}, 0.99, 50},
		{"the least", hundred, 0, 1},
		{"the most", hundred, 1, 100},
		{"of one", []time.Duration{7}, 0.99, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Quantile(tt.took, tt.q); got != tt.want {
				t.Errorf("got %d", got)
			}
		})
	}
	if hundred[0] != 100 {
		t.Error("what was measured is in another order now")
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    float64
		want string
	}{
		{"a count", 1000000, "1000000"},
		{"nothing", 0, "0"},
		{"hundreds need no fraction", 185145.3, "185145"},
		{"three digits", 12.345, "12.3"},
		{"less than one", 0.07164, "0.0716"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Number(tt.v); got != tt.want {
				t.Errorf("got %s", got)
			}
		})
	}
}
