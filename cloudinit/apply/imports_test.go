package apply

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/cloudinit"
)

func TestImportedKeys(t *testing.T) {
	for name, tc := range map[string]struct{ in, want, err string }{
		"GitHub's JSON":      {in: `[{"id":1,"key":"ssh-ed25519 AAAA"},{"id":2,"key":"ssh-rsa BBBB"}]`, want: "ssh-ed25519 AAAA,ssh-rsa BBBB"},
		"lines":              {in: "# mine\nssh-ed25519 AAAA me@x\r\n\nssh-rsa BBBB\n", want: "ssh-ed25519 AAAA me@x,ssh-rsa BBBB"},
		"nobody has any":     {in: "[]"},
		"a web page":         {in: "<!doctype html>", err: "is no SSH key"},
		"options":            {in: `command="x" ssh-rsa BBBB`, err: "is no SSH key"},
		"two lines in one":   {in: `[{"key":"ssh-rsa A\nssh-rsa B"}]`, err: "is no SSH key"},
		"JSON that breaks":   {in: `[{"key":`, err: "no list of keys"},
		"a type without key": {in: "ssh-rsa", err: "is no SSH key"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := importedKeys([]byte(tc.in))
			var got []string
			for _, k := range keys {
				got = append(got, string(k))
			}
			if strings.Join(got, ",") != tc.want {
				t.Errorf("got %q", got)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("said %v, want %q", err, tc.err)
			}
		})
	}
}

// The keys of a URL come after the config's own; if they can't be had, nothing
// is changed.
func TestImportsKeys(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(answer)
		_, _ = w.Write([]byte(`[{"key":"ssh-ed25519 AAAA"}]`))
	}))
	defer server.Close()
	result, problems := cloudinit.Translate([]byte("#cloud-config\nusers:\n- name: core\n  ssh-authorized-keys: [ssh-rsa BBBB]\n  coreos-ssh-import-url: "+server.URL+"\n"), cloudinit.Options{})
	if problems.Failed() {
		t.Fatal(problems.InFile("f"))
	}
	root := hostImage(t)
	a := applier(t, Options{Root: root})
	report, err := a.Apply(t.Context(), result)
	if err != nil || !report.Changed() {
		t.Fatal(report, err)
	}
	file, err := os.ReadFile(filepath.Join(root, "home/core/.ssh/authorized_keys"))
	if err != nil || !strings.Contains(string(file), "\nssh-rsa BBBB\nssh-ed25519 AAAA\n") {
		t.Errorf("the file is %q (%v)", file, err)
	}
	if again, err := a.Apply(t.Context(), result); err != nil || again.Changed() {
		t.Errorf("a second time: %v, %v", again.Changes, err)
	}
	answer = http.StatusNotFound
	before := treeOf(t, root)
	_, err = a.Apply(t.Context(), result)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed:\nline 5: the keys of core: fetching "+server.URL+": 404") {
		t.Errorf("said %v", err)
	}
	if changed(before, treeOf(t, root)) != "" {
		t.Error("something was changed")
	}
}
