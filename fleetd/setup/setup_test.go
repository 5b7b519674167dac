package setup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/apply"
	"github.com/fleet-project/fleet/cloudinit/source"
	"github.com/fleet-project/fleet/machine"
	"github.com/spf13/pflag"
)

// fromArgs parses the flags that say where a config comes from.
func fromArgs(t *testing.T, args ...string) *fromFlags {
	t.Helper()
	var f fromFlags
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.add(set)
	for i, a := range args { // fleetd takes them with one dash, too
		if len(a) > 1 && a[0] == '-' && a[1] != '-' {
			args[i] = "-" + a
		}
	}
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

// Keys that are to be fetched are fetched for an image, too, though Ignition has no
// words for them.
func TestKeysFetchedForAnImage(t *testing.T) {
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ssh-ed25519 AAAA eve") }))
	defer keys.Close()
	root := t.TempDir()
	write(t, root, "/config", "#cloud-config\nusers: [{name: eve, coreos_ssh_import_url: '"+keys.URL+"'}]\n")
	opts := options{root: root, diff: true}
	opts.from.files = []string{root + "/config"}
	out, stderr, err := cloudinitOn(t, root, opts)
	if err != nil || !strings.Contains(out, "create /home/eve/.ssh/authorized_keys") {
		t.Errorf("%v\n%s%s", err, out, stderr)
	}
}

// What is in deployed unit files is taken, or refused by name: never unknown.
func TestCoreOSCloudinitFlags(t *testing.T) {
	cmd := Command("test")
	cmd.InitDefaultVersionFlag()
	for _, name := range []string{
		"version", "ignore-failure", "from-file", "from-configdrive", "from-waagent", "from-metadata-service", "from-ec2-metadata",
		"from-gce-metadata", "from-cloudsigma-metadata", "from-digitalocean-metadata", "from-packet-metadata", "from-url",
		"from-proc-cmdline", "from-vmware-guestinfo", "from-vmware-ovf-env", "oem", "convert-netconf", "workspace", "ssh-key-name", "validate",
	} {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
	for _, oem := range []string{"digitalocean", "ec2-compat", "gce", "rackspace-onmetal", "azure", "cloudsigma", "packet", "vmware"} {
		if presets[oem] == nil {
			t.Errorf("there is no --oem=%s", oem)
		}
	}
}

// Who reads JSON is told what was done before it failed, and only that.
func TestFailedInJSON(t *testing.T) {
	failed := errors.New("systemd refuses")
	one := []apply.Change{{Verb: "create", Subject: "/a"}}
	for name, c := range map[string]struct {
		output string
		report apply.Report
		err    error
		want   string
	}{
		"a command":      {"json", apply.Report{Changes: one, Commands: []apply.Outcome{{Verb: "start", Unit: "a.service", Result: "done"}}}, failed, `"result": "done"`},
		"a file":         {"json", apply.Report{}, &apply.PartialError{Done: one, Err: failed}, `"subject": "/a"`},
		"nothing done":   {"json", apply.Report{}, failed, ""},
		"for a terminal": {"text", apply.Report{Changes: one}, failed, ""},
	} {
		var out bytes.Buffer
		r := run{options: &options{output: c.output, root: "/"}, out: &out}
		if err := r.tellFailed("f", c.report, c.err); !errors.Is(err, failed) {
			t.Errorf("%s: %v", name, err)
		}
		if got := out.String(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The places that were looked at are told apart.
func TestPlaces(t *testing.T) {
	none := &source.NoneError{Sources: []source.Source{{Name: "a"}, {Name: "b"}}, Why: []error{errors.New("not there"), errors.New("empty")}}
	if got := places(none); got != "a: not there; b: empty" {
		t.Error(got)
	}
}

// An image that isn't named, as by a script's empty variable, isn't this host.
func TestRootMustBeNamed(t *testing.T) {
	link := filepath.Join(t.TempDir(), "root")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for root, want := range map[string]string{
		"": "--root is empty", link: "this host's own root", "/proc/self/root": "this host's own root",
		"/": "", "//./": "", t.TempDir(): "", "/nowhere": "",
	} {
		err := (&options{root: root, output: "text"}).check(nil)
		if want == "" && err != nil || want != "" && (!errors.As(err, new(UsageError)) || !strings.Contains(err.Error(), want)) {
			t.Errorf("--root=%s: %v; want %q", root, err, want)
		}
	}
}

// Every source that coreos-cloudinit had is one here, in an order that doesn't
// depend on the flags'.
func TestSources(t *testing.T) {
	const ec2 = "the EC2 metadata service at http://169.254.169.254/"
	for args, want := range map[string][]string{
		"": nil,
		"-from-url=http://h/a -from-file=b --from-file=c": {"b", "c", "http://h/a"},
		"-from-url http://u:p@h/a?token=x":                {"http://xxxxx@h/a?xxxxx"},
		"-from-configdrive=/media/configdrive":            {"the config drive in /media/configdrive"},
		"-from-configdrive=auto":                          {"the config drive"},
		"-from-waagent=/var/lib/waagent":                  {"Azure's agent (/var/lib/waagent)"},
		"-from-proc-cmdline":                              {"the kernel's command line (cloud-config-url=)"},
		"-from-vmware-guestinfo":                          {"VMware's guestinfo"},
		"-from-vmware-ovf-env=/media/ovfenv/ovf-env.xml":  {"the OVF environment /media/ovfenv/ovf-env.xml"},
		"-from-metadata-service":                          {ec2},
		"-from-metadata-service=true":                     {ec2},
		"-from-ec2-metadata=http://169.254.169.254":       {"the EC2 metadata service at http://169.254.169.254"},
		"-from-gce-metadata=http://m/":                    {"the GCE metadata service at http://m/"},
		"-from-digitalocean-metadata=http://m/":           {"the DigitalOcean metadata service at http://m/"},
		"-from-packet-metadata=https://m/":                {"the Packet metadata service at https://m/"},
		"-oem=azure":                                      {"Azure's agent (/var/lib/waagent)"},
		"-oem=digitalocean":                               {"the DigitalOcean metadata service at http://169.254.169.254/"},
		"-oem=ec2-compat":                                 {"the config drive in /media/configdrive", ec2},
		"-oem=gce":                                        {"the GCE metadata service at http://metadata.google.internal/"},
		"-oem=packet":                                     {"the Packet metadata service at https://metadata.packet.net/"},
		"-oem=rackspace-onmetal":                          {"the config drive in /media/configdrive"},
		"-oem=vmware -from-file=x":                        {"x", "VMware's guestinfo"},
	} {
		f := fromArgs(t, strings.Fields(args)...)
		if f.none() != (args == "") {
			t.Errorf("%q: it says that it names no source: %v", args, f.none())
		}
		sources, err := f.sources(&source.Host{})
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		var names []string
		for _, s := range sources {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q: %q, want %q", args, names, want)
		}
	}
}

// cloudinitOn runs fleetd cloudinit as on a host whose files are below root.
func cloudinitOn(t *testing.T, root string, opts options) (out, stderr string, err error) {
	t.Helper()
	cmd := Command("test")
	var stdout, errs bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&errs)
	opts.host = &source.Host{Root: root}
	if !opts.diff && !opts.validate {
		opts.root = t.TempDir() // the host that tests run on is nobody's to change
	}
	opts.root, opts.output = cmp.Or(opts.root, "/"), cmp.Or(opts.output, "text")
	err = runCommand(context.Background(), cmd, &opts, nil)
	return stdout.String(), errs.String(), err
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A host that is given nothing is left as it is, and that is no failure: its
// boot must not fail. Whoever asks for a check of nothing has made a mistake.
func TestNothingToApply(t *testing.T) {
	root := t.TempDir()
	for _, output := range []string{"text", "json"} {
		out, _, err := cloudinitOn(t, root, options{output: output})
		if err != nil || !strings.Contains(out, "nothing to apply: this host is given no config") || !strings.Contains(out, "/var/lib/coreos-install/user_data: not there") {
			t.Errorf("%s: %q, %v", output, out, err)
		}
	}
	if out, _, err := cloudinitOn(t, root, options{quiet: true}); err != nil || out != "" {
		t.Errorf("quietly: %q, %v", out, err)
	}
	if _, _, err := cloudinitOn(t, root, options{validate: true}); err == nil {
		t.Error("nothing is valid")
	}
	if _, _, err := cloudinitOn(t, root, options{from: fromFlags{sha256: strings.Repeat("00", 32)}}); err == nil {
		t.Error("nothing has a checksum")
	}
	if _, _, err := cloudinitOn(t, root, options{from: fromFlags{configDrive: filepath.Join(root, "none")}}); err == nil {
		t.Error("a source that was named, and isn't there, is no failure")
	}
}

func TestDefaultPlaceIsFound(t *testing.T) {
	root := t.TempDir()
	write(t, root, "var/lib/coreos-install/user_data", "#cloud-config\nhostname: x$private_ipv4\n")
	out, _, err := cloudinitOn(t, root, options{validate: true})
	if err != nil || out != "/var/lib/coreos-install/user_data: valid cloud-config; the host must have $private_ipv4\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// Where Ignition has run, its config is not applied a second time; a
// cloud-config beside it is nobody else's.
func TestIgnitionHasRun(t *testing.T) {
	const file = "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"
	for _, c := range []struct{ name, file, config, ran, want string }{
		{"Ignition, by Ignition", file, `{"ignition":{"version":"3.0.0"}}`, "{}", "nothing to apply: Ignition has applied the config of /" + file},
		{"Butane, by Ignition", file, "variant: fcos\nversion: 1.5.0\n", "{}", "nothing to apply: Ignition has applied the config of /" + file},
		{"Ignition, by nobody", file, `{"ignition":{"version":"3.0.0"}}`, "", ""},
		{"Ignition, from elsewhere", "var/lib/coreos-install/user_data", `{"ignition":{"version":"3.0.0"}}`, "{}", ""},
		{"a cloud-config", file, "#cloud-config\n", "{}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, c.file, c.config)
			if c.ran != "" {
				write(t, root, ignitionResult, c.ran)
			}
			out, _, err := cloudinitOn(t, root, options{diff: true})
			if err != nil || !strings.HasPrefix(out, c.want) || c.want == "" && strings.Contains(out, "nothing to apply") {
				t.Errorf("%q, %v; want %q", out, err, c.want)
			}
		})
	}
}

// What the platform says goes over what the host finds out by itself. An
// image's host is another.
func TestAddresses(t *testing.T) {
	t.Setenv("COREOS_PUBLIC_IPV4", "192.0.2.4")
	t.Setenv("COREOS_PRIVATE_IPV4", "10.0.0.4")
	said := source.Found{Metadata: source.Metadata{Addresses: map[string]string{"public_ipv4": "192.0.2.99"}}}
	for root, private := range map[string]string{"image": "10.0.0.4", "/": "10.1.0.7"} {
		r := run{options: &options{root: root}, findAddresses: func() (machine.Addresses, error) {
			return machine.Addresses{"private_ipv4": "10.1.0.7", "public_ipv4": "192.0.2.7"}, nil
		}}
		got, err := r.addresses(context.Background(), said, []byte("$private_ipv4"))
		if err != nil || got["public_ipv4"] != "192.0.2.99" || got["private_ipv4"] != private || len(got) != 2 {
			t.Errorf("%s: %v, %v", root, got, err)
		}
	}
}

// A host whose network isn't up is waited for if the config needs it, and told;
// one that only lacks what is asked for is not.
func TestAddressesOfAHostThatBoots(t *testing.T) {
	for _, c := range []struct {
		name, text string
		first      machine.Addresses
		looks      int
	}{
		{"no network yet", "$private_ipv4", nil, 2},
		{"no use for it", "hello", nil, 1},
		{"another family's came first", "$private_ipv4", machine.Addresses{"public_ipv6": "2001:db8::1"}, 2},
		{"another address", "$public_ipv4", machine.Addresses{"private_ipv4": "10.0.0.4"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			looks, told := 0, ""
			r := run{options: &options{root: "/", from: fromFlags{timeout: time.Hour}}, findAddresses: func() (machine.Addresses, error) {
				if looks++; looks == 1 {
					return c.first, nil
				}
				return machine.Addresses{"private_ipv4": "10.0.0.4"}, nil
			}}
			r.host = &source.Host{Log: func(s string) { told = s }}
			if _, err := r.addresses(t.Context(), source.Found{}, []byte(c.text)); err != nil || looks != c.looks || (told != "") != (c.looks > 1) {
				t.Errorf("%d looks, told %q, %v", looks, told, err)
			}
		})
	}
}

// Where systemd doesn't run, a config that needs it is refused by name, before
// anything is changed.
func TestNeedsSystemd(t *testing.T) {
	for text, want := range map[string]string{
		"#cloud-config\nwrite_files: [{path: /a, content: x}]\n":               "",
		"#cloud-config\ncoreos: {units: [{name: a.service, mask: true}]}\n":    "unit a.service",
		"#cloud-config\ncoreos: {units: [{name: a.service, command: stop}]}\n": "a.service's command",
		"#!/bin/sh\n": "script",
	} {
		result, problems := cloudinit.Translate([]byte(text), cloudinit.Options{})
		if got := needsSystemd(result); problems.Failed() || got != want {
			t.Errorf("%q: %q, want %q (%v)", text, got, want, problems)
		}
	}
}

// What is left to another service may hold secrets.
func TestWritePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "commands.json")
	for _, text := range []string{"one", "two"} {
		if err := writePrivate(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil || string(got) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, %v, %v", got, info, err, err2)
		}
	}
}

// From the begin of a boot's run until a config has been applied, or there is
// none, the host counts as one that lacks its configuration.
func TestHostWithoutItsConfig(t *testing.T) {
	root := t.TempDir()
	run := run{options: &options{root: "/", output: "text", host: &source.Host{Root: root}}, out: io.Discard}
	if err := Applied(root); err != nil {
		t.Errorf("a host that has not booted with it: %v", err)
	}
	for name, end := range map[string]func() error{
		"applied": run.bootDone,
		"none":    func() error { return run.nothing("nothing to apply") },
	} {
		if err := run.bootBegins(); err != nil {
			t.Fatal(err)
		}
		if err := Applied(root); err == nil || !strings.Contains(err.Error(), "journalctl -u fleet-cloudinit") {
			t.Errorf("%s: at its begin: %v", name, err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := Applied(root); err != nil {
			t.Errorf("%s: at its end: %v", name, err)
		}
	}
}
