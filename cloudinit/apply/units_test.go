package apply

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/cloudinit"
)

const wanted = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"

func TestUnits(t *testing.T) {
	const etc, usr = "/etc/systemd/system/", "/usr/lib/systemd/system/"
	const inEtc = "/etc/systemd/system/multi-user.target.wants/"
	for _, c := range []struct {
		name   string
		root   map[string]string
		in     string
		more   cloudinit.Result
		want   []string
		not    []string
		preset string
	}{{
		name: "a unit and its drop-ins replace what is there",
		root: map[string]string{etc + "a.service": "->/dev/null", etc + "a.service.d/x.conf": "old"},
		in:   `{"name": "a.service", "contents": "[Unit]\n", "dropins": [{"name": "x.conf", "contents": "[Service]\n"}, {"name": "y.conf"}]}`,
		want: []string{etc + "a.service 0644 0:0 file\n\t[Unit]\n", etc + "a.service.d/x.conf 0644 0:0 file\n\t[Service]"},
		not:  []string{"y.conf", "preset"},
	}, {
		name: "a mask replaces a file; to lift one leaves a file that says something",
		root: map[string]string{etc + "a.service": "x", etc + "b.service": "x", etc + "c.service": "->/dev/null", etc + "d.service": "", etc + "e.service": "->/opt/e.service"},
		in: `{"name": "a.service", "mask": true}, {"name": "b.service", "mask": false}, {"name": "c.service", "mask": false},
			{"name": "d.service", "mask": false}, {"name": "e.service", "mask": false}, {"name": "f.service", "mask": false}`,
		want: []string{etc + "a.service link 0:0 -> /dev/null", etc + "c.service gone", etc + "d.service gone"},
		not:  []string{"b.service", "e.service"},
	}, {
		name: "enabled: wanted, required, upheld, under other names, with others",
		root: map[string]string{
			usr + "a.service": "[Install]\nWantedBy=x.target \\\n y.target\nWantedBy=z.target\nRequiredBy=r.target\nAlias=b.service\nAlso=c.socket gone.service\n",
			usr + "c.socket":  "[Install]\nWantedBy=sockets.target\nAlso=a.service\n", usr + "a.service.d/x.conf": "[Install]\nUpheldBy=u.target\n",
		},
		in: `{"name": "a.service", "enabled": true}`,
		want: []string{etc + "x.target.wants/a.service link 0:0 -> " + usr + "a.service", etc + "y.target.wants/a.service link", etc + "z.target.wants/a.service link",
			etc + "r.target.requires/a.service link", etc + "u.target.upholds/a.service link", etc + "b.service link 0:0 -> " + usr + "a.service", etc + "sockets.target.wants/c.socket link 0:0 -> " + usr + "c.socket"},
		preset: "enable a.service\n",
	}, {
		name: "an empty assignment takes back what was said",
		root: map[string]string{usr + "a.service": wanted, etc + "a.service.d/x.conf": "[Install]\nWantedBy=\nWantedBy=x.target\n"},
		in:   `{"name": "a.service", "enabled": true}`, want: []string{"x.target.wants/a.service link"}, not: []string{"multi-user"},
		preset: "enable a.service\n",
	}, {
		name: "the nearer file is the unit",
		root: map[string]string{usr + "a.service": wanted, "/run/systemd/system/a.service": "[Install]\nWantedBy=run.target\n"},
		in:   `{"name": "a.service", "enabled": true}`, want: []string{"run.target.wants/a.service link 0:0 -> /run/systemd/system/a.service"}, not: []string{"multi-user"},
		preset: "enable a.service\n",
	}, {
		name:   "instances, a template's default one, and specifiers",
		root:   map[string]string{usr + "a@.service": "[Install]\nWantedBy=multi-user.target %p-%i.target\nDefaultInstance=def\nAlias=other@%i.service\n"},
		in:     `{"name": "a@.service", "enabled": true}, {"name": "a@one.service", "enabled": true}, {"name": "a@two.service", "enabled": true}`,
		want:   []string{inEtc + "a@def.service link 0:0 -> " + usr + "a@.service", inEtc + "a@one.service link", etc + "a-two.target.wants/a@two.service link", etc + "other@one.service link 0:0 -> " + usr + "a@.service"},
		preset: "enable a@.service\nenable a@.service one two\n",
	}, {
		name: "a template and its instances, others between",
		root: map[string]string{usr + "a@.service": wanted + "DefaultInstance=def\n", usr + "b.service": wanted, presetFile: "enable a@.service one\n"},
		in:   `{"name": "a@.service", "enabled": true}, {"name": "a@one.service", "enabled": true}, {"name": "b.service", "enabled": true}`,
		want: []string{inEtc + "a@def.service link", inEtc + "a@one.service link"}, preset: "enable a@.service one\nenable a@.service\nenable b.service\n",
	}, {
		name: "an instance's own file", root: map[string]string{usr + "a@.service": wanted, usr + "a@own.service": "[Install]\nWantedBy=own.target\n"},
		in: `{"name": "a@own.service", "enabled": true}`, want: []string{"own.target.wants/a@own.service link 0:0 -> " + usr + "a@own.service"}, not: []string{"multi-user"},
		preset: "enable a@.service own\n",
	}, {
		name: "a link that leads there in other words stays",
		root: map[string]string{usr + "a.service": wanted, inEtc + "a.service": "->/lib/systemd/system/a.service"},
		in:   `{"name": "a.service", "enabled": true}`, not: []string{"wants"},
		preset: "enable a.service\n",
	}, {
		name: "a link that leads elsewhere is led there",
		root: map[string]string{usr + "a.service": wanted, inEtc + "a.service": "->/old/a.service"},
		in:   `{"name": "a.service", "enabled": true}`, want: []string{inEtc + "a.service link 0:0 -> " + usr + "a.service"},
		preset: "enable a.service\n",
	}, {
		name: "a unit that is linked from elsewhere",
		root: map[string]string{etc + "a.service": "->/opt/a.service", "/opt/a.service": wanted},
		in:   `{"name": "a.service", "enabled": true}`, want: []string{inEtc + "a.service link 0:0 -> /opt/a.service"},
		preset: "enable a.service\n",
	}, {
		name: "disabled: every link to it goes, others stay",
		root: map[string]string{
			usr + "a.service": wanted + "Also=c.service\n", usr + "c.service": wanted, usr + "d.service": wanted, inEtc + "a.service": "->" + usr + "a.service", inEtc + "c.service": "->../c.service",
			inEtc + "d.service": "->" + usr + "d.service", etc + "x.target.requires/a.service": "->/gone/a.service", etc + "alias.service": "->" + usr + "a.service",
			"/run/systemd/system/y.target.wants/a.service": "->" + usr + "a.service",
		},
		in:     `{"name": "a.service", "enabled": false}, {"name": "never.service", "enabled": false}`,
		want:   []string{inEtc + "a.service gone", inEtc + "c.service gone", etc + "x.target.requires/a.service gone", etc + "alias.service gone", "/run/systemd/system/y.target.wants/a.service gone"},
		not:    []string{"d.service"},
		preset: "disable a.service\ndisable never.service\n",
	}, {
		name: "a template disabled with all its instances, or one of them",
		root: map[string]string{usr + "a@.service": wanted, usr + "b@.service": wanted, inEtc + "a@x.service": "->" + usr + "a@.service", inEtc + "b@x.service": "->" + usr + "b@.service", inEtc + "b@y.service": "->" + usr + "b@.service"},
		in:   `{"name": "a@.service", "enabled": false}, {"name": "b@x.service", "enabled": false}`,
		want: []string{inEtc + "a@x.service gone", inEtc + "b@x.service gone"}, not: []string{"b@y"},
		preset: "disable a@.service\ndisable b@x.service\n",
	}, {
		name:   "presets of others stay, and instances are on one line",
		root:   map[string]string{usr + "a@.service": wanted, usr + "b.service": wanted, presetFile: "# mine\nenable z.service\ndisable b.service\nenable a@.service 1 2"},
		in:     `{"name": "a@3.service", "enabled": true}, {"name": "a@1.service", "enabled": false}, {"name": "b.service", "enabled": true}`,
		preset: "# mine\nenable z.service\nenable b.service\nenable a@.service 2 3\ndisable a@1.service\n",
	}, {
		name: "until reboot only", root: map[string]string{usr + "a.service": wanted},
		more: cloudinit.Result{EnableRuntime: []string{"a.service"}, Unmask: []string{"/run/systemd/system/a.service"}},
		want: []string{"/run/systemd/system/multi-user.target.wants/a.service link 0:0 -> " + usr + "a.service"}, not: []string{"/etc"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			root := image(t, map[string]string{"/lib": "->usr/lib", "/etc/systemd/system/": "", usr: "", "/run/systemd/system/": ""})
			addTo(t, root, c.root)
			before, in := treeOf(t, root), ignition(t, `"systemd": {"units": [`+c.in+`]}`)
			in.EnableRuntime, in.Unmask = c.more.EnableRuntime, c.more.Unmask
			a := applier(t, Options{Root: root})
			if _, err := a.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			after := treeOf(t, root)
			got := changed(before, after)
			for _, want := range c.want {
				if !strings.Contains(got, withoutOwners(want)) {
					t.Errorf("%q is missing of\n%s", want, got)
				}
			}
			_, rules, _ := strings.Cut(after[presetFile], "file\n")
			if rules = strings.ReplaceAll(rules, "\t", ""); rules != strings.TrimSuffix(c.preset, "\n") {
				t.Errorf("the preset is\n%s\nnot\n%s", rules, c.preset)
			}
			delete(after, presetFile)
			delete(before, presetFile)
			for _, not := range c.not {
				if got := changed(before, after); strings.Contains(got, not) {
					t.Errorf("%q should not be in\n%s", not, got)
				}
			}
			if again, err := a.Apply(t.Context(), in); err != nil || again.Changed() {
				t.Errorf("a second time changed %v (%v)", again.Changes, err)
			}
		})
	}
}

func TestRefusedUnits(t *testing.T) {
	const usr = "/usr/lib/systemd/system/"
	for _, c := range []struct {
		name string
		root map[string]string
		in   string
		want string
	}{
		{"no such unit", nil, `{"name": "a.service", "enabled": true}`, "unit a.service: it can't be enabled: there is no such unit"},
		{"no such template", nil, `{"name": "a@1.service", "enabled": true}`, "there is no such unit"},
		{"a template without an instance", map[string]string{usr + "a@.service": wanted}, `{"name": "a@.service", "enabled": true}`, "enable an instance of it"},
		{"another name", map[string]string{usr + "a.service": wanted, usr + "b.service": "->a.service"}, `{"name": "b.service", "enabled": true}`, "only another name of a.service"},
		{"names in a circle", map[string]string{usr + "a.service": "->b.service", usr + "b.service": "->a.service"}, `{"name": "b.service", "enabled": true}`, "go in a circle"},
		{"masked", map[string]string{usr + "a.service": wanted, "/etc/systemd/system/a.service": "->/dev/null"}, `{"name": "a.service", "enabled": true}`, "masks it: say mask: false, too"},
		{"masked by the config", map[string]string{usr + "a.service": wanted}, `{"name": "a.service", "enabled": true, "mask": true}`, "exclude each other"},
		{"an alias of another type", map[string]string{usr + "a.service": "[Install]\nAlias=a.socket\n"}, `{"name": "a.service", "enabled": true}`, "of another type"},
		{"an alias that would leave", map[string]string{usr + "a.service": "[Install]\nAlias=../../x.service\n"}, `{"name": "a.service", "enabled": true}`, "no unit's name"},
		{"a target that would leave", map[string]string{usr + "a.service": "[Install]\nWantedBy=../../../root/x\n"}, `{"name": "a.service", "enabled": true}`, "no unit's name"},
		{"an alias that is a unit", map[string]string{usr + "a.service": "[Install]\nAlias=b.service\n", "/etc/systemd/system/b.service": wanted}, `{"name": "a.service", "enabled": true}`, "b.service is a file, where a link"},
		{"a default instance that would leave", map[string]string{usr + "a@.service": "[Install]\nWantedBy=x.target\nDefaultInstance=../../../x\n"}, `{"name": "a@.service", "enabled": true}`, "no unit's name"},
		{"a specifier of the host", map[string]string{usr + "a.service": "[Install]\nWantedBy=%H.target\n"}, `{"name": "a.service", "enabled": true}`, "%H isn't known before"},
		{"a drop-in that would leave", nil, `{"name": "a.service", "dropins": [{"name": "../../x.conf", "contents": "[Unit]\n"}]}`, "no drop-in's name"},
		{"a unit that is a directory", map[string]string{"/etc/systemd/system/a.service/x": ""}, `{"name": "a.service", "contents": "[Unit]\n"}`, "a.service is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := image(t, map[string]string{"/etc/systemd/system/": "", usr: ""})
			addTo(t, root, c.root)
			before := treeOf(t, root)
			_, err := applier(t, Options{Root: root}).Apply(t.Context(), ignition(t, `"systemd": {"units": [`+c.in+`]}`))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, not %q", err, c.want)
			}
			if diff := changed(before, treeOf(t, root)); diff != "" {
				t.Errorf("it changed\n%s", diff)
			}
		})
	}
}

// Old configs enable units that nothing can pull in: as with systemctl, that is
// no reason to leave the host without the rest.
func TestEnablingWithoutInstallIsAWarning(t *testing.T) {
	root := image(t, map[string]string{"/etc/systemd/system/": ""})
	var warned []string
	a := applier(t, Options{Root: root, Warn: func(what string) { warned = append(warned, what) }})
	in := ignition(t, `"systemd": {"units": [{"name": "a.service", "enabled": true, "contents": "[Service]\nExecStart=/bin/true\n"}]}`)
	if _, err := a.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	const want = "a.service: enabling it does nothing: /etc/systemd/system/a.service has no [Install]"
	if len(warned) != 1 || !strings.HasPrefix(warned[0], want) {
		t.Errorf("it warns %q", warned)
	}
	if got := treeOf(t, root); got["/etc/systemd/system/a.service"] == "" || got["/etc/systemd/system/multi-user.target.wants"] != "" {
		t.Errorf("the tree is %v", got)
	}
}
