package functional

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposed is how exposed to each other a service and its host may be at most, as
// systemd-analyze security of the hosts' systemd (252) counts it by the service's
// file, from 0 to 10.
// docs/reliability.md tells them. The other tests on hosts show that the services can
// live with it.
var exposed = map[string]float64{
	"fleet.service": 3.2, "etcd2.service": 2.7, "fleet-discovery.service": 1.6, "fleet-cloudinit.service": 6.8,
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestServicesAreHardened(t *testing.T) {
	w := use(t)
	shown, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	for service, most := range exposed {
		out := w.run(w.Hosts[0], "systemd-analyze security --no-pager --offline=true $(systemctl show --property=FragmentPath --value "+service+")")
		m := overall.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%s:\n%s", service, out)
		}
		level, err := strconv.ParseFloat(m[1], 64)
		if err != nil || level > most {
			t.Errorf("%s: exposed %v of 10, it was %v:\n%s", service, level, most, out)
		}
		if row := fmt.Sprintf("| `%s` | %.1f |", service, most); !strings.Contains(string(shown), row) {
			t.Errorf("docs/reliability.md has no row %q", row)
		}
	}
}
