package backup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// example has one of everything.
var example = &File{
	Format: Format, Fleet: "2.0.0", Cluster: "4c1d", Schema: "1.0.0", Taken: time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC),
	Machines: []Machine{
		{ID: "22222222222222222222222222222222", Cordoned: true},
		{ID: "1e111111111111111111111111111111", Metadata: map[string]string{"region": "eu", "disk": "ssd"}, Removed: []string{"rack"}},
	},
	Units: []Unit{
		{Name: "web@1.service", Target: unit.TargetLaunched, Text: []byte("# The site.\n[Service]\nExecStart=/bin/web \\\n    --port 80  \n")},
		{Name: `srv-a\x2db.mount`, Target: unit.TargetLoaded, Text: []byte("[Mount]\r\nWhat=/dev/sdb\r\n Where=/srv/a-b\r\n")},
		{Name: "web@.service", Target: unit.TargetInactive, Text: []byte("\n[Service]\nExecStart=/bin/web")},
	},
}

const exampleText = `# A backup of a fleet cluster: units, what is wanted of them, and what was said of
# machines. To put it back: fleetctl restore FILE, which first says what it would
# change. The units' texts are whole, with whatever secrets they have in them.
format: "1.0.0"
fleet: "2.0.0"
cluster: "4c1d"
schema: "1.0.0"
taken: "2026-11-21T22:00:00Z"
machines:
- id: "1e111111111111111111111111111111"
  metadata:
    "disk": "ssd"
    "region": "eu"
  removed:
  - "rack"
- id: "22222222222222222222222222222222"
  cordoned: true
units:
- name: "srv-a\\x2db.mount"
  target: loaded
  text: "\
    [Mount]\r\n\
    What=/dev/sdb\r\n\
    \ Where=/srv/a-b\r\n"
- name: web@.service
  target: inactive
  text: |2-

    [Service]
    ExecStart=/bin/web
- name: web@1.service
  target: launched
  text: |
    # The site.
    [Service]
    ExecStart=/bin/web \
        --port 80  
...
`

// before adds to the end of a backup.
func before(text, more string) string {
	return strings.TrimSuffix(text, lastLine+"\n") + more + lastLine + "\n"
}

func TestExample(t *testing.T) {
	if diff := cmp.Diff(exampleText, string(example.YAML())); diff != "" {
		t.Errorf("written: %s", diff)
	}
	got, _, err := Read([]byte(exampleText))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleText, string(got.YAML())); diff != "" {
		t.Errorf("read and written: %s", diff)
	}
	var at []int
	for _, u := range got.Units {
		at = append(at, u.Line)
	}
	if diff := cmp.Diff([]int{19, 25, 31}, at); diff != "" {
		t.Errorf("the units' lines: %s", diff)
	}
}

// What is wrong is told by line, all of it, with a remedy; nothing is guessed.
func TestRefused(t *testing.T) {
	// edit changes the example as a person would.
	edit := func(old, new string) string {
		if strings.Count(exampleText, old) != 1 {
			t.Fatalf("%q is not once in the example", old)
		}
		return strings.Replace(exampleText, old, new, 1)
	}
	for name, tc := range map[string]struct {
		text string
		want string // problems, as they are told
	}{
		"empty":                        {"", "f: the file is empty: " + whole},
		"comments only":                {"# nothing\n", "f: the file is empty: " + whole},
		"no YAML":                      {"a: [", "f: it is not the YAML of a backup (line 1: did not find expected node content): " + whole},
		"a unit file":                  {"[Unit]\n", "f:1: this is no backup: " + whole},
		"another YAML":                 {"a: b\n", "f:1: this is no backup: it has no format: " + whole},
		"no format":                    {edit("format: \"1.0.0\"\n", ""), "f:4: this is no backup: it has no format: " + whole},
		"format is rubbish":            {edit(`format: "1.0.0"`, `format: "one"`), `f:4: format "one" is no version: write 1.0.0`},
		"format of later":              {edit(`format: "1.0.0"`, `format: "2.1.0"`), "f:4: the file is of format 2.1.0, this fleetctl reads 1.x: use the fleetctl of the fleet version that the file names"},
		"two documents":                {exampleText + "---\na: b\n", "f:39: a second document begins: restore one file after the other; what is added belongs before the line ..."},
		"cut off":                      {exampleText[:strings.Index(exampleText, "units:")], "f: it has no units: " + whole},
		"cut off between units":        {exampleText[:strings.Index(exampleText, "- name: web@1")], "f:30: the file was cut off: its last line should be ...: get a whole copy of it; if you know that nothing is missing, add that line"},
		"cut off in a unit's text":     {strings.TrimSuffix(exampleText, "80  \n...\n"), "f:37: the file was cut off: its last line should be ...: "},
		"cut off in a unit":            {exampleText[:strings.Index(exampleText, "  text: |\n")], "f:31: the unit has no text: " + whole},
		"units is nothing":             {edit("units:\n", "units:\nx:\n"), "f:18: this is no list: write [] if it is empty\nf:19: unknown field x: take it out"},
		"a field twice":                {edit("cluster: \"4c1d\"\n", "cluster: a\ncluster: b\n"), "f:7: cluster is there twice: leave one of them out"},
		"a field misspelt":             {edit("  target: loaded", "  taget: loaded"), "f:19: the unit has no target: " + whole + "\nf:20: unknown field taget: did you mean target?"},
		"a target misspelt":            {edit("target: loaded", "target: started"), `f:20: "started" is no state that a unit can be wanted in: write inactive, loaded or launched`},
		"a target of fleet's":          {edit("target: loaded", "target: destroyed"), `f:20: "destroyed" is no state that a unit can be wanted in: write inactive, loaded or launched`},
		"a template launched":          {edit("target: inactive", "target: launched"), "f:25: web@.service is a template: write target: inactive: only instances of it can be launched"},
		"no unit's name":               {edit("name: web@1.service", "name: web 1"), "f:31: unit name \"web 1\": "},
		"a unit twice":                 {edit("name: web@1.service", "name: web@.service"), "f:31: web@.service is a template: write target: inactive: only instances of it can be launched\nf:31: unit web@.service is there twice: in line 25 already: leave one of them out"},
		"a machine twice":              {edit("- id: \"2222", "- id: 1e111111111111111111111111111111\n- id: \"2222"), "f:16: machine 1e111111111111111111111111111111 is there twice: in line 10 already: leave one of them out"},
		"no id":                        {edit("- id: \"22222222222222222222222222222222\"\n  cordoned", "- cordoned"), `f:16: machine id "": has 0 characters instead of 32: write the machine's whole id, as in /etc/machine-id`},
		"metadata that can't be":       {edit(`"disk": "ssd"`, `"disk": "a,b"`), `f:10: "disk=a,b" is no metadata: write a key and a value without commas, `},
		"a removed key without a name": {edit(`  - "rack"`, `  - ""`), "f:10: removed has an empty key: take it out"},
		"cordoned by a word":           {edit("cordoned: true", "cordoned: maybe"), `f:17: cordoned: "maybe" is neither true nor false: write true or false`},
		"metadata of numbers":          {edit(`"disk": "ssd"`, `disk: 5`), "f:12: this is no string: write a string, in quotes if it could be anything else"},
		"metadata as a list":           {edit("  metadata:\n    \"disk\": \"ssd\"\n    \"region\": \"eu\"", "  metadata: [a]"), "f:11: this is no list of fields: write it as fleetctl backup does"},
		"a text of numbers":            {edit("text: |2-\n\n    [Service]\n    ExecStart=/bin/web", "text: 5"), "f:27: this is no string: write a string, in quotes if it could be anything else"},
		"a text as an alias":           {before(edit("text: |2-\n\n    [Service]\n    ExecStart=/bin/web\n", "text: &a |\n    [Service]\n    ExecStart=/bin/web\n"), "- name: c.service\n  target: loaded\n  text: *a\n"), "f:39: this is no string: write a string, in quotes if it could be anything else"},
		"broken base64":                {edit("text: |2-\n\n    [Service]\n    ExecStart=/bin/web", "text: !!binary =="), "f:27: this is no base64: write plain text"},
		"in a literal text":            {edit("    # The site.\n", "    # The site.\n    rubbish\n"), `f:35: web@1.service: "rubbish" stands before the first section: begin the file with a section header such as [Unit]`},
		"in a text in quotes":          {edit(`    \ Where=/srv/a-b\r\n"`, `    [X-Fleet]\r\n\`+"\n"+`    Nonsense=1"`), "f:25: srv-a\\x2db.mount: [X-Fleet] Nonsense: unknown option: "},
		"in a text on a line":          {edit("text: |2-\n\n    [Service]\n    ExecStart=/bin/web", `text: "\nrubbish"`), `f:25: web@.service: "rubbish" stands before`},
		"no time":                      {edit(`taken: "2026-11-21T22:00:00Z"`, `taken: yesterday`), `f:8: "yesterday" is no time: write a time such as 2026-11-21T22:00:00Z`},
		"several at a time":            {before(edit("target: loaded", "target: started"), "- {}\n"), "f:20: \"started\" is no state"},
		"machines are missing":         {edit("machines:\n", "machine:\n"), "f: it has no machines: " + whole + "\nf:9: unknown field machine: did you mean machines?"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, err := Read([]byte(tc.text))
			var all unit.Problems
			if !errors.As(err, &all) || f != nil {
				t.Fatalf("gave %v, %v", f, err)
			}
			if got := all.InFile("f"); !strings.HasPrefix(got, tc.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
			for _, p := range all {
				if p.Remedy == "" {
					t.Errorf("%v has no remedy", p)
				}
			}
		})
	}
}

// A later minor version's file is read as far as it is known, and what isn't is
// named.
func TestLaterMinorVersion(t *testing.T) {
	text := strings.Replace(exampleText, `format: "1.0.0"`, `format: "1.9.3"`, 1)
	text = strings.Replace(text, "  target: loaded\n", "  target: loaded\n  priority: 5\n", 1)
	text = before(text, "replicas: {}\n")
	got, warnings, err := Read([]byte(text))
	if err != nil || len(got.Units) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	want := "f:21: priority is not known to this fleetctl and will not be restored: use a later one\n" +
		"f:39: replicas is not known to this fleetctl and will not be restored: use a later one"
	if said := warnings.InFile("f"); said != want {
		t.Errorf("said:\n%s\nwant:\n%s", said, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(exampleText))
	f.Add([]byte("format: 1.0.0\nmachines: []\nunits: [{name: a.service, target: loaded, text: !!binary AA==}]\n...\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, _, err := Read(text)
		if err != nil {
			return
		}
		again, _, err := Read(file.YAML())
		if err != nil {
			t.Fatalf("what was read can't be read again: %v\n%s", err, file.YAML())
		}
		if diff := cmp.Diff(string(file.YAML()), string(again.YAML())); diff != "" {
			t.Error(diff)
		}
	})
}
