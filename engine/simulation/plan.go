package simulation

import (
	"math/rand/v2"
	"time"
)

// plan is what kind of world a seed makes.
type plan struct {
	machines, engines, operators int
	ttl                          time.Duration
	maxOps, batch                int // what etcd takes in a transaction, and what leaders send
	drift                        float64
	units                        int
	chaos                        time.Duration // how long faults and operators are at work
	every                        time.Duration // between faults, on average
	pause                        time.Duration // between an operator's deeds, on average
	faults                       []fault       // that may happen
}

// drawPlan decides what world a seed makes.
func drawPlan(seed uint64) plan {
	r := chance(seed, "plan")
	p := plan{
		machines: 3 + r.IntN(5), engines: 1 + r.IntN(3), operators: 1 + r.IntN(3),
		ttl:    []time.Duration{6 * time.Second, 12 * time.Second, 30 * time.Second}[r.IntN(3)],
		maxOps: []int{128, 512}[r.IntN(2)],
		batch:  []int{6, 20, 512}[r.IntN(3)],
		drift:  []float64{0, 0.0002, 0.002, 0.04}[r.IntN(4)],
		units:  4 + r.IntN(12),
		chaos:  time.Duration(40+r.IntN(140)) * time.Second,
		every:  time.Duration(2+r.IntN(15)) * time.Second,
		pause:  time.Duration(500+r.IntN(8000)) * time.Millisecond,
	}
	if r.IntN(100) == 0 {
		p.machines = 20 + r.IntN(60)
		p.units = 100 + r.IntN(200)
		p.pause /= 10
	}
	// Some faults only, so that each is met with few others, too.
	for _, f := range faultKinds {
		if r.IntN(2) == 0 {
			p.faults = append(p.faults, f)
		}
	}
	return p
}

// largePlan is a world of thousands of machines.
func largePlan(seed uint64) plan {
	p := drawPlan(seed)
	p.machines, p.engines, p.operators, p.units, p.ttl = 2000, 3, 20, 4000, 30*time.Second
	p.chaos, p.every, p.pause, p.faults = 45*time.Second, 300*time.Millisecond, 2*time.Second, faultKinds
	return p
}

// metadata draws a host's.
func (p plan) metadata(r *rand.Rand) map[string]string {
	m := map[string]string{"region": []string{"eu", "us"}[r.IntN(2)]}
	if r.IntN(2) == 0 {
		m["disk"] = "ssd"
	}
	return m
}
