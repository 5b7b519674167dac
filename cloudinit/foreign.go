package cloudinit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// cloudInit adds the top keys that are cloud-init's: what translates is taken,
// the others are refused with what to write instead.
func (r *reader) cloudInit(c *cloudConfig, keys map[string]take) {
	for key, remedy := range notTaken {
		keys[key] = r.refuse(remedy)
	}
	for _, key := range []string{"package_update", "package_upgrade", "package_reboot_if_required", "preserve_hostname", "manage_resolv_conf", "ssh_deletekeys"} {
		keys[key] = r.unlessFalse(keys[key])
	}
	keys["hostname"] = r.matching(&c.hostname, hostName, "a host's name")
	keys["fqdn"] = r.matching(&c.fqdn, hostName, "a host's name")
	localhost := r.oneOf(&c.manageEtcHosts, "localhost")
	keys["manage_etc_hosts"] = func(n *yaml.Node, path string) {
		switch v, ok := truth(plain(n).Value); {
		case ok && !v:
		case ok || plain(n).Value == "template":
			r.problems.Add(n.Line, Error, "%s: there are no templates here: write localhost, or /etc/hosts into write_files", path)
		default:
			localhost(n, path)
		}
	}
	keys["groups"] = r.cloudInitGroups(c)
}

// cloudInitGroups reads groups to make: a list or text with commas. Members are
// said of the users.
func (r *reader) cloudInitGroups(c *cloudConfig) take {
	names := r.groupNames(&c.groups)
	withMembers := func(n *yaml.Node, path string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			members, _ := r.resolve(n.Content[i+1])
			if members.Kind == yaml.ScalarNode && (members.Tag == "!!null" || members.Value == "") || members.Kind == yaml.SequenceNode && len(members.Content) == 0 {
				names(n.Content[i], path)
				continue
			}
			r.problems.Add(n.Content[i].Line, Error, "%s: members are not said of a group here: write groups: [%.40s] for each of these users", path, n.Content[i].Value)
		}
	}
	return func(n *yaml.Node, path string) {
		n, ok := r.resolve(n)
		switch {
		case !ok:
		case n.Kind == yaml.MappingNode:
			withMembers(n, path)
		case n.Kind == yaml.SequenceNode:
			r.list(func(n *yaml.Node, path string) {
				if at, ok := r.resolve(n); ok && at.Kind == yaml.MappingNode {
					withMembers(at, path)
					return
				}
				names(n, path)
			})(n, path)
		default:
			names(n, path)
		}
	}
}

// cloudInitUser adds the keys that are cloud-init's of a user.
func (r *reader) cloudInitUser(u *user, keys map[string]take) {
	keys["uid"] = r.number(&u.uid)
	keys["hashed_passwd"] = keys["passwd"]
	keys["lock_passwd"] = r.flag(&u.locked)
	keys["sudo"] = r.sudo(&u.sudo)
	for key, remedy := range map[string]string{
		"plain_text_passwd": "a password is not kept in clear: write passwd: with what openssl passwd -6 prints",
		"inactive":          "write a unit with Type=oneshot that runs chage --inactive",
		"expiredate":        "write a unit with Type=oneshot that runs chage --expiredate",
		"selinux_user":      "write a unit with Type=oneshot that runs semanage login",
		"ssh_import_id":     "write coreos_ssh_import_github into users for those of GitHub, and others into ssh_authorized_keys",
		"ssh_redirect_user": "leave out ssh_authorized_keys for a user that nobody is to log in as",
		"doas":              "write /etc/doas.conf into write_files",
		"snapuser":          "write a unit with Type=oneshot that runs snap create-user",
	} {
		keys[key] = r.refuse(remedy)
	}
}

// sudo reads rules of sudoers(5) without the user's name; false is none.
func (r *reader) sudo(dst *[]string) take {
	rule := r.text(func(v string, n *yaml.Node, path string) {
		switch {
		case !oneLine.MatchString(v):
			r.problems.Add(n.Line, Error, "%s: a rule is one line", path)
		case strings.Contains(v, "="):
			*dst = append(*dst, v)
		default:
			r.problems.Add(n.Line, Error, "%s: %.80q is no rule: write one as ALL=(ALL) NOPASSWD:ALL", path, v)
		}
	})
	many := r.list(rule)
	return func(n *yaml.Node, path string) {
		at, ok := r.resolve(n)
		if !ok || at.Kind == yaml.ScalarNode && at.Tag == "!!bool" && at.Value == "false" {
			return
		}
		if at.Kind == yaml.SequenceNode {
			many(n, path)
			return
		}
		rule(n, path)
	}
}

func (r *reader) refuse(remedy string) take {
	return func(n *yaml.Node, path string) {
		r.problems.Add(n.Line, Error, "%s is cloud-init's and not done here: %s", path, remedy)
	}
}

// unlessFalse is for what false doesn't ask for.
func (r *reader) unlessFalse(refuse take) take {
	return func(n *yaml.Node, path string) {
		if v, ok := truth(plain(n).Value); ok && !v {
			return
		}
		refuse(n, path)
	}
}

// What to write instead of cloud-init's keys.
const (
	aUnit    = "write a unit with Type=oneshot into coreos.units, with enable: true and command: start, that runs it"
	anEarly  = "write a unit with Type=oneshot into coreos.units that is enabled and ordered Before= what needs it"
	anImage  = "install it into the image"
	aFile    = "write its configuration into write_files"
	aDisk    = "do it when the image is made, or in Ignition before the first boot"
	aMount   = "write a .mount or .swap unit into coreos.units, with enable: true and command: start"
	anAgent  = "install it into the image, and write its configuration into write_files"
	hostKeys = "a host makes its own keys; write given ones into write_files"
	nothing  = "leave it out: it says how cloud-init itself works"
)

// notTaken are cloud-init's keys of which nothing can be made, and what to
// write instead.
var notTaken = map[string]string{
	"runcmd": aUnit + "; or give a script beside this config, as MIME multipart", "bootcmd": anEarly,
	"packages": anImage, "package_update": anImage, "package_upgrade": anImage, "package_reboot_if_required": anImage,
	"apt": anImage, "apt_pipelining": anImage, "yum_repos": anImage, "yum_repo_dir": anImage, "zypper": anImage, "apk_repos": anImage,
	"snap": anImage, "drivers": anImage, "ubuntu_pro": anImage, "ubuntu_advantage": anImage, "rh_subscription": anImage, "spacewalk": anImage,
	"user": "write a users entry", "password": "write passwd: with what openssl passwd -6 prints, into users",
	"chpasswd":          "write passwd: with what openssl passwd -6 prints, into users",
	"ssh_pwauth":        "write /etc/ssh/sshd_config.d/50-passwords.conf into write_files",
	"disable_root":      "write /etc/ssh/sshd_config.d/50-root.conf into write_files",
	"disable_root_opts": "write /etc/ssh/sshd_config.d/50-root.conf into write_files",
	"ssh_import_id":     "write coreos_ssh_import_github into users for those of GitHub, and others into ssh_authorized_keys",
	"ssh_keys":          hostKeys, "ssh_genkeytypes": hostKeys, "ssh_deletekeys": hostKeys, "ssh_publish_hostkeys": hostKeys, "ssh": hostKeys,
	"allow_public_ssh_keys": "leave it out: keys that are given are used", "no_ssh_fingerprints": nothing, "authkey_hash": nothing, "ssh_quiet_keygen": nothing,
	"ntp": "write /etc/systemd/timesyncd.conf into write_files", "timezone": anEarly + ", as timedatectl set-timezone does",
	"locale": "write /etc/locale.conf into write_files", "locale_configfile": "write /etc/locale.conf into write_files", "keyboard": "write /etc/vconsole.conf into write_files",
	"mounts": aMount, "mount_default_fields": aMount, "swap": aMount, "disk_setup": aDisk, "fs_setup": aDisk, "device_aliases": aDisk,
	"growpart": aDisk, "resize_rootfs": aDisk, "grub_dpkg": aDisk,
	"power_state": aUnit, "final_message": nothing, "phone_home": aUnit, "output": nothing, "debug": nothing, "reporting": nothing,
	"ca_certs":    "write the certificates into write_files, and run update-ca-certificates in a unit with Type=oneshot",
	"resolv_conf": "write /etc/systemd/resolved.conf into write_files", "manage_resolv_conf": "write /etc/systemd/resolved.conf into write_files",
	"preserve_hostname": "leave out hostname", "prefer_fqdn_over_hostname": "write the whole name as hostname", "create_hostname_file": "leave out hostname",
	"rsyslog": aFile, "network": "write .network files into coreos.units", "wireguard": "write .netdev and .network files into coreos.units",
	"random_seed": anImage, "landscape": anAgent, "puppet": anAgent, "chef": anAgent, "salt_minion": anAgent, "ansible": anAgent, "mcollective": anAgent,
	"lxd": anAgent, "byobu_by_default": anAgent, "fan": anAgent, "autoinstall": "it is for an installer, not for a host", "updates": nothing,
	"datasource": nothing, "datasource_list": nothing, "system_info": nothing, "merge_how": nothing, "merge_type": nothing, "vendor_data": nothing,
	"vendor_data2": nothing, "cloud_init_modules": nothing, "cloud_config_modules": nothing, "cloud_final_modules": nothing, "rpi": anImage,
}
