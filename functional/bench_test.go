package functional

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart measures fleetctl start of a new unit, whole: process, API,
// etcd, scheduling, systemd, and back. Its floor, measured in the same run on
// the same host, is systemctl start of a new unit file. The ratio is the price
// of the cluster.
func BenchmarkStart(b *testing.B) {
	w := use(b)
	h := w.Hosts[0]
	var fleet, floor []time.Duration
	timed := func(line string) time.Duration {
		b.Helper()
		began := time.Now()
		w.run(h, line)
		return time.Since(began)
	}
	for i := 0; b.Loop(); i++ {
		path := w.file(fmt.Sprintf("bench%d.service", i), sleeper(""))
		fleet = append(fleet, timed("fleetctl start "+path))
		w.run(h, fmt.Sprintf("cp %s /run/systemd/system/floor%d.service", path, i))
		floor = append(floor, timed(fmt.Sprintf("systemctl start floor%d.service", i)))
		w.run(h, fmt.Sprintf("systemctl stop floor%d.service; rm /run/systemd/system/floor%d.service", i, i))
		w.fleetctl("destroy", fmt.Sprintf("bench%d.service", i))
	}
	b.ReportMetric(ms(fleet), "ms/fleetctl")
	b.ReportMetric(ms(floor), "ms/systemctl")
	b.ReportMetric(ms(fleet)/ms(floor), "x-floor")
	b.ReportMetric(0, "ns/op") // it would count the cleaning up
}

// ms is the median in milliseconds.
func ms(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}
