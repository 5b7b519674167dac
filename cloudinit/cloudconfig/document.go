package cloudconfig

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document is a cloud-config to be written.
type document struct {
	Hostname       scalar     `yaml:"hostname,omitempty"`
	ManageEtcHosts scalar     `yaml:"manage_etc_hosts,omitempty"`
	Groups         []scalar   `yaml:"groups,omitempty"`
	Users          []docUser  `yaml:"users,omitempty"`
	WriteFiles     []docFile  `yaml:"write_files,omitempty"`
	CoreOS         *docCoreOS `yaml:"coreos,omitempty"`
}

type docUser struct {
	Name         scalar   `yaml:"name"`
	UID          *int     `yaml:"uid,omitempty"`
	Passwd       scalar   `yaml:"passwd,omitempty"`
	Gecos        scalar   `yaml:"gecos,omitempty"`
	Homedir      scalar   `yaml:"homedir,omitempty"`
	NoCreateHome bool     `yaml:"no_create_home,omitempty"`
	PrimaryGroup scalar   `yaml:"primary_group,omitempty"`
	Groups       []scalar `yaml:"groups,omitempty"`
	NoUserGroup  bool     `yaml:"no_user_group,omitempty"`
	System       bool     `yaml:"system,omitempty"`
	NoLogInit    bool     `yaml:"no_log_init,omitempty"`
	Shell        scalar   `yaml:"shell,omitempty"`
	Keys         []scalar `yaml:"ssh_authorized_keys,omitempty"`
	GitHub       []scalar `yaml:"coreos_ssh_import_github_users,omitempty"`
	KeysURL      scalar   `yaml:"coreos_ssh_import_url,omitempty"`
}

type docFile struct {
	Path        scalar     `yaml:"path"`
	Permissions string     `yaml:"permissions,omitempty"`
	Owner       scalar     `yaml:"owner,omitempty"`
	Append      bool       `yaml:"append,omitempty"`
	Encoding    string     `yaml:"encoding,omitempty"`
	Content     scalar     `yaml:"content,omitempty"`
	Source      *docSource `yaml:"source,omitempty"`
}

type docSource struct {
	URI     scalar            `yaml:"uri"`
	Headers map[string]scalar `yaml:"headers,omitempty"`
}

type docCoreOS struct {
	Update *docUpdate `yaml:"update,omitempty"`
	Units  []docUnit  `yaml:"units,omitempty"`
}

type docUpdate struct {
	RebootStrategy scalar `yaml:"reboot_strategy,omitempty"`
	Group          scalar `yaml:"group,omitempty"`
	Server         scalar `yaml:"server,omitempty"`
}

type docUnit struct {
	Name    scalar      `yaml:"name"`
	Mask    bool        `yaml:"mask,omitempty"`
	Enable  bool        `yaml:"enable,omitempty"`
	Runtime bool        `yaml:"runtime,omitempty"`
	Command scalar      `yaml:"command,omitempty"`
	Content scalar      `yaml:"content,omitempty"`
	DropIns []docDropIn `yaml:"drop_ins,omitempty"`
}

type docDropIn struct {
	Name    scalar `yaml:"name"`
	Content scalar `yaml:"content"`
}

func (d *document) coreos() *docCoreOS {
	if d.CoreOS == nil {
		d.CoreOS = &docCoreOS{}
	}
	return d.CoreOS
}

func (d *document) yaml() []byte {
	var text bytes.Buffer
	text.WriteString("#cloud-config\n")
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(d); err != nil {
		panic(err) // of what we made ourselves, into memory
	}
	return text.Bytes()
}

// scalar is text as it is to be read: what would be taken for an address's
// variable is escaped, and what YAML would take for something else is quoted.
type scalar string

var (
	needsNoQuotes = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@+-]*$`)
	yamlWord      = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|off|y|n)$`)
	addressName   = regexp.MustCompile(`\$(public|private)_ipv[46]`)
)

// MarshalYAML says how it is written.
func (s scalar) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: addressName.ReplaceAllString(string(s), `\$0`)}
	switch v := string(s); {
	case strings.Contains(v, "\n") && printable(v) && !strings.ContainsAny(v[:1], " \n\t"):
		n.Style = yaml.LiteralStyle
	case !needsNoQuotes.MatchString(v) || yamlWord.MatchString(v):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n, nil
}

// printable says whether a text can stand in YAML for people to read.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r)
	})
}
