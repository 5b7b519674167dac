package setup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/cloudinit/source"
	"github.com/spf13/pflag"
)

// fromFlags say where a config comes from, and what it must be.
type fromFlags struct {
	files                                       []string
	configDrive, waagent, ovfEnv, url           string
	ec2, gce, digitalOcean, packet              string
	procCmdline, vmware, metadataService, sigma bool
	oem                                         string
	sha256, sha512                              string
	timeout                                     time.Duration
}

func (f *fromFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.files, "from-file", nil, "read the config from this `FILE`; - for standard input")
	flags.StringVar(&f.configDrive, "from-configdrive", "", "read from the config drive in this `DIR`; auto for the one so labelled")
	flags.StringVar(&f.waagent, "from-waagent", "", "read what Azure's agent has put into this `DIR`")
	flags.BoolVar(&f.procCmdline, "from-proc-cmdline", false, "read from the URL in the kernel's command line: cloud-config-url=URL")
	flags.BoolVar(&f.vmware, "from-vmware-guestinfo", false, "read VMware's guestinfo")
	flags.StringVar(&f.ovfEnv, "from-vmware-ovf-env", "", "read the OVF environment in this `FILE`")
	flags.StringVar(&f.url, "from-url", "", "read from this `URL`")
	flags.StringVar(&f.ec2, "from-ec2-metadata", "", "ask EC2's metadata service at this `URL`: "+source.EC2Address)
	flags.BoolVar(&f.metadataService, "from-metadata-service", false, "ask EC2's metadata service at "+source.EC2Address)
	flags.StringVar(&f.gce, "from-gce-metadata", "", "ask GCE's metadata service at this `URL`: "+source.GCEAddress)
	flags.StringVar(&f.digitalOcean, "from-digitalocean-metadata", "", "ask DigitalOcean's metadata service at this `URL`: "+source.DigitalOceanAddress)
	flags.StringVar(&f.packet, "from-packet-metadata", "", "ask Packet's metadata service at this `URL`: "+source.PacketAddress)
	flags.BoolVar(&f.sigma, "from-cloudsigma-metadata", false, "refused: CloudSigma's is on a serial line")
	flags.Lookup("from-cloudsigma-metadata").Hidden = true
	flags.StringVar(&f.oem, "oem", "", "take the sources of this `PLATFORM`: "+strings.Join(oems(), ", "))
	flags.StringVar(&f.sha256, "sha256", "", "the config must have this SHA-256, in hexadecimal `DIGITS`, as it is found")
	flags.StringVar(&f.sha512, "sha512", "", "the config must have this SHA-512, in hexadecimal `DIGITS`, as it is found")
	flags.DurationVar(&f.timeout, "timeout", source.Wait, "how long to look for a source; 0: once")
}

// presets are the sources of platforms, as coreos-cloudinit knows them.
var presets = map[string]func(*fromFlags){
	"azure":             func(f *fromFlags) { f.waagent = "/var/lib/waagent" },
	"cloudsigma":        func(f *fromFlags) { f.sigma = true },
	"digitalocean":      func(f *fromFlags) { f.digitalOcean = source.DigitalOceanAddress },
	"ec2-compat":        func(f *fromFlags) { f.ec2, f.configDrive = source.EC2Address, "/media/configdrive" },
	"gce":               func(f *fromFlags) { f.gce = source.GCEAddress },
	"packet":            func(f *fromFlags) { f.packet = source.PacketAddress },
	"rackspace-onmetal": func(f *fromFlags) { f.configDrive = "/media/configdrive" },
	"vmware":            func(f *fromFlags) { f.vmware = true },
}

func oems() []string { return slices.Sorted(maps.Keys(presets)) }

// none says whether nobody has said where the config comes from.
func (f *fromFlags) none() bool {
	return len(f.files) == 0 && !f.procCmdline && !f.vmware && !f.metadataService && !f.sigma &&
		f.configDrive+f.waagent+f.ovfEnv+f.url+f.ec2+f.gce+f.digitalOcean+f.packet+f.oem == ""
}

// sources are those that the flags name, the preferred one first. It sets what
// the config must hash to.
func (f *fromFlags) sources(h *source.Host) ([]source.Source, error) {
	if err := f.setChecksum(h); err != nil {
		return nil, UsageError{err}
	}
	all := *f
	if f.oem != "" {
		preset, ok := presets[f.oem]
		if !ok {
			return nil, UsageError{fmt.Errorf("--oem=%s: there is %s", f.oem, strings.Join(oems(), ", "))}
		}
		preset(&all)
	}
	if all.sigma {
		return nil, UsageError{errors.New("CloudSigma's server context is on a serial line, which is not read here: give the config with --from-url or --from-configdrive")}
	}
	if all.metadataService {
		all.ec2 = source.EC2Address
	}
	var sources []source.Source
	for _, file := range all.files {
		sources = append(sources, h.File(file))
	}
	if all.configDrive != "" {
		sources = append(sources, h.ConfigDrive(all.configDrive))
	}
	if all.waagent != "" {
		sources = append(sources, h.Waagent(all.waagent))
	}
	if all.procCmdline {
		sources = append(sources, h.CommandLine())
	}
	if all.vmware {
		sources = append(sources, h.VMwareGuestinfo())
	}
	if all.ovfEnv != "" {
		sources = append(sources, h.OVFEnvironment(all.ovfEnv))
	}
	for _, at := range []struct {
		flag, url string
		make      func(string) (source.Source, error)
	}{
		{"url", all.url, h.URL}, {"ec2-metadata", all.ec2, h.EC2}, {"gce-metadata", all.gce, h.GCE},
		{"digitalocean-metadata", all.digitalOcean, h.DigitalOcean}, {"packet-metadata", all.packet, h.Packet},
	} {
		if at.url == "" {
			continue
		}
		s, err := at.make(at.url)
		if err != nil {
			return nil, UsageError{fmt.Errorf("--from-%s: %w", at.flag, err)}
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func (f *fromFlags) setChecksum(h *source.Host) (err error) {
	switch {
	case f.sha256 != "" && f.sha512 != "":
		return errors.New("give either --sha256 or --sha512")
	case f.sha256 != "":
		h.Checksum, err = source.ParseChecksum("sha256", f.sha256)
	case f.sha512 != "":
		h.Checksum, err = source.ParseChecksum("sha512", f.sha512)
	}
	return err
}

// onlyFiles says whether files are all that is asked for.
func (f *fromFlags) onlyFiles() bool {
	others := *f
	others.files = nil
	return others.none()
}
