package apply

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// unitDirs are where systemd looks for units, the first first.
var unitDirs = []string{etcUnits, runUnits, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// maxAlso bounds the units that are enabled because others say Also=.
const maxAlso = 256

// install is what a unit's [Install] says, specifiers replaced.
type install struct {
	name                     string // with the default instance, of a template
	file                     string // canonical
	wanted, required, upheld []string
	alias, also              []string
}

// enable makes the links that a unit's [Install] asks for in a directory, as
// systemctl enable does. It works on an image, and on a host whose systemd
// doesn't know the unit yet.
func (p *planner) enable(name, dir string) error {
	todo, seen := []string{name}, map[string]bool{}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if seen[next] {
			continue
		}
		if seen[next] = true; len(seen) > maxAlso {
			return fmt.Errorf("enabling it would enable more than %d units by Also=", maxAlso)
		}
		in, found, err := p.install(next)
		switch {
		case err != nil:
			return err
		case !found && next != name:
			continue // systemctl enable takes it so: what Also= names may be another package's
		case !found:
			return fmt.Errorf("it can't be enabled: there is no such unit in %s", strings.Join(unitDirs, ", "))
		}
		if next == name && len(in.wanted)+len(in.required)+len(in.upheld)+len(in.alias)+len(in.also) == 0 {
			p.opts.Warn(fmt.Sprintf("%s: enabling it does nothing: %s has no [Install] that says what pulls it in (WantedBy=multi-user.target, usually)", name, in.file))
			return nil
		}
		if err := p.links(in, dir); err != nil {
			return err
		}
		todo = append(todo, in.also...)
		p.enabled = append(p.enabled, in.name)
	}
	return nil
}

func (p *planner) links(in install, dir string) error {
	for _, l := range []struct {
		names []string
		below string
	}{{in.wanted, ".wants"}, {in.required, ".requires"}, {in.upheld, ".upholds"}} {
		for _, target := range l.names {
			if err := checkUnitName(target); err != nil {
				return err
			}
			if err := p.unitLink(path.Join(dir, target+l.below, in.name), in.file); err != nil {
				return err
			}
		}
	}
	for _, alias := range in.alias {
		if err := checkUnitName(alias); err != nil {
			return err
		}
		if path.Ext(alias) != path.Ext(in.name) {
			return fmt.Errorf("its Alias=%s is of another type", alias)
		}
		if alias == in.name {
			continue
		}
		if err := p.unitLink(path.Join(dir, alias), in.file); err != nil {
			return err
		}
	}
	return nil
}

func checkUnitName(name string) error {
	if strings.ContainsAny(name, "/ \x00") || strings.HasPrefix(name, ".") || len(name) > 200 || path.Ext(name) == "" {
		return fmt.Errorf("%q in its [Install] is no unit's name", name)
	}
	return nil
}

// unitLink links to a unit's file. One that leads there in other words stays.
func (p *planner) unitLink(link, file string) error {
	at, err := p.place(link)
	if err != nil {
		return err
	}
	e, err := p.lstat(at)
	if err != nil {
		return err
	}
	switch e.kind {
	case missing:
	case symlink:
		if to, err := p.follow(link); err == nil && to == file {
			return nil
		}
		if masks(e) && path.Dir(link) == path.Dir(at) && !strings.Contains(path.Base(path.Dir(link)), ".") {
			return fmt.Errorf("its alias %s is masked", link)
		}
	default:
		return fmt.Errorf("%s is %s, where a link to %s would be", link, e, file)
	}
	return p.put(at, node{want: entry{kind: symlink, target: file}})
}

// install finds a unit and reads its [Install].
func (p *planner) install(name string) (in install, found bool, err error) {
	if err := checkUnitName(name); err != nil {
		return in, false, err
	}
	template, instance := templateOf(name)
	in = install{name: name}
	if in.file, err = p.unitFile(name); err == nil && in.file == "" && instance != "" {
		in.file, err = p.unitFile(template)
	}
	if err != nil || in.file == "" {
		return in, false, err
	}
	said, err := p.installSection(name, in.file)
	if err != nil {
		return in, false, err
	}
	if strings.Contains(name, "@") && instance == "" {
		if len(said["DefaultInstance"]) == 0 {
			return in, false, fmt.Errorf("it is a template without DefaultInstance=: enable an instance of it")
		}
		last := said["DefaultInstance"][len(said["DefaultInstance"])-1]
		in.name = strings.Replace(name, "@.", "@"+last+".", 1)
		if err := checkUnitName(in.name); err != nil {
			return in, false, err
		}
	}
	for key, to := range map[string]*[]string{"WantedBy": &in.wanted, "RequiredBy": &in.required, "UpheldBy": &in.upheld, "Alias": &in.alias, "Also": &in.also} {
		for _, v := range said[key] {
			expanded, err := expand(v, in.name)
			if err != nil {
				return in, false, fmt.Errorf("%s=%s in %s: %w", key, v, in.file, err)
			}
			*to = append(*to, expanded)
		}
	}
	return in, true, nil
}

// unitFile finds a unit's file; "" if there is none.
func (p *planner) unitFile(name string) (string, error) {
	for _, dir := range unitDirs {
		file := path.Join(dir, name)
		at, err := p.resolve(file)
		if err != nil {
			return "", err
		}
		e, err := p.lstat(at)
		switch {
		case err != nil:
			return "", err
		case e.kind == missing:
			continue
		case masks(e) || e.kind == regular && p.emptyFile(at):
			return "", fmt.Errorf("it can't be enabled: %s masks it: say mask: false, too; in a cloud-config, which has no words for that: systemctl unmask %s", file, name)
		case e.kind == regular:
			return at, nil
		case e.kind != symlink:
			return "", fmt.Errorf("%s is %s", file, e)
		}
		to, err := p.follow(at)
		if err != nil {
			return "", err
		}
		template, _ := templateOf(name)
		if base := path.Base(to); base != name && base != template {
			return "", fmt.Errorf("it can't be enabled: it is only another name of %s: name that", base)
		}
		if e, err = p.lstat(to); err != nil || e.kind != regular {
			return "", fmt.Errorf("%s leads to %s, which is %s", file, to, e)
		}
		return to, nil
	}
	return "", nil
}

func (p *planner) emptyFile(at string) bool {
	text, _, ok, err := p.read(at)
	return err == nil && ok && len(text) == 0
}

// installSection gives the values of [Install] in a unit's file and its drop-ins.
func (p *planner) installSection(name, file string) (map[string][]string, error) {
	files := []string{file}
	names := []string{name}
	if template, _ := templateOf(name); template != name {
		names = []string{template, name}
	}
	dropIns := map[string]string{} // by file name: the first directory that has it wins
	for _, dir := range unitDirs {
		for _, n := range names {
			below, err := p.follow(path.Join(dir, n+".d"))
			if err != nil {
				return nil, err
			}
			found, err := p.list(below)
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				if strings.HasSuffix(f, ".conf") && dropIns[f] == "" {
					dropIns[f] = path.Join(below, f)
				}
			}
		}
	}
	for _, f := range keys(dropIns) {
		files = append(files, dropIns[f])
	}
	said := map[string][]string{}
	for _, f := range files {
		at, err := p.follow(f)
		if err != nil || at == devNull {
			continue // a drop-in that is masked
		}
		text, _, ok, err := p.read(at)
		if err != nil {
			return nil, err
		}
		if !ok || !strings.Contains(string(text), "[Install]") {
			continue
		}
		parsed, err := unit.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, o := range parsed.Options() {
			switch {
			case o.Section != "Install":
			case o.Value == "":
				delete(said, o.Name)
			default:
				said[o.Name] = append(said[o.Name], strings.Fields(o.Value)...)
			}
		}
	}
	return said, nil
}

// expand replaces the specifiers that don't depend on the host.
func expand(s, name string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	dot := strings.LastIndex(name, ".")
	stem, instance := name[:dot], ""
	prefix := stem
	if at := strings.Index(stem, "@"); at >= 0 {
		prefix, instance = stem[:at], stem[at+1:]
	}
	last := prefix[strings.LastIndex(prefix, "-")+1:]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		v, ok := map[byte]string{'n': name, 'N': stem, 'p': prefix, 'i': instance, 'j': last, '%': "%"}[s[i]]
		if !ok {
			return "", fmt.Errorf("%%%c isn't known before the host runs: write what it stands for", s[i])
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// disable removes the links to a unit that anything made, and those of what it
// names by Also=. That there is none is fine.
func (p *planner) disable(name string, seen map[string]bool) error {
	if seen[name] || len(seen) > maxAlso {
		return nil
	}
	seen[name] = true
	for _, dir := range []string{etcUnits, runUnits} {
		below, err := p.follow(dir)
		if err != nil {
			return err
		}
		names, err := p.list(below)
		if err != nil {
			return err
		}
		for _, n := range names {
			at := path.Join(below, n)
			switch path.Ext(n) {
			case ".wants", ".requires", ".upholds":
				err = p.removeLinks(at, name)
			default:
				err = p.removeAlias(at, name)
			}
			if err != nil {
				return err
			}
		}
	}
	in, found, err := p.install(name)
	if err != nil || !found {
		return nil // masked, or not there: nothing more to disable
	}
	for _, also := range in.also {
		if err := p.disable(also, seen); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) removeLinks(dir, name string) error {
	names, err := p.list(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		at := path.Join(dir, n)
		e, err := p.lstat(at)
		if err != nil {
			return err
		}
		template, instance := templateOf(n)
		of := n == name || path.Base(e.target) == name && (instance == "" || !strings.Contains(name, "@")) ||
			instance != "" && template == name
		if e.kind == symlink && of {
			if err := p.put(at, node{want: entry{kind: missing}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) removeAlias(at, name string) error {
	e, err := p.lstat(at)
	if err != nil || e.kind != symlink || path.Base(at) == name || path.Base(e.target) != name {
		return err
	}
	if !slices.Contains(unitDirs, path.Dir(e.target)) && path.IsAbs(e.target) {
		return nil // somebody's link to a file elsewhere
	}
	return p.put(at, node{want: entry{kind: missing}})
}
