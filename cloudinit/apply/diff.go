package apply

import (
	"fmt"
	"strings"
)

// around is how many lines are shown around a difference.
const around = 3

// maxDiff bounds the work: of larger texts (lines of one times lines of the
// other), what is between the first and the last difference is shown whole.
const maxDiff = 4 << 20

// line of a diff: ' ', '-' or '+', and its text.
type line struct {
	mark byte
	text string
}

// unified writes what differs between two texts as `diff -u` does.
func unified(p string, existed bool, old, now string) string {
	from := "/dev/null"
	if existed {
		from = p
	}
	all := compare(split(old), split(now))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", from, p)
	for start := 0; start < len(all); {
		first := start
		for first < len(all) && all[first].mark == ' ' {
			first++
		}
		if first == len(all) {
			break
		}
		end, same := first, 0 // after the hunk's last difference
		for i := first; i < len(all) && same <= 2*around; i++ {
			if all[i].mark == ' ' {
				same++
			} else {
				same, end = 0, i+1
			}
		}
		hunk(&b, all, max(first-around, start), min(end+around, len(all)))
		start = min(end+around, len(all))
	}
	return b.String()
}

func hunk(b *strings.Builder, all []line, from, to int) {
	oldAt, newAt, olds, news := 1, 1, 0, 0
	for i, l := range all[:to] {
		o, n := 0, 0
		if l.mark != '+' {
			o = 1
		}
		if l.mark != '-' {
			n = 1
		}
		if i < from {
			oldAt, newAt = oldAt+o, newAt+n
		} else {
			olds, news = olds+o, news+n
		}
	}
	if olds == 0 {
		oldAt--
	}
	if news == 0 {
		newAt--
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n", oldAt, olds, newAt, news)
	for _, l := range all[from:to] {
		b.WriteByte(l.mark)
		b.WriteString(l.text)
		if !strings.HasSuffix(l.text, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

func split(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// compare finds a longest common subsequence between what both texts begin and
// end with alike.
func compare(a, b []string) []line {
	var head, tail []line
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, line{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, line{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	all := append(head, middle(a, b)...)
	for i := len(tail) - 1; i >= 0; i-- {
		all = append(all, tail[i])
	}
	return all
}

func middle(a, b []string) (out []line) {
	if len(a)*len(b) > maxDiff {
		for _, l := range a {
			out = append(out, line{'-', l})
		}
		for _, l := range b {
			out = append(out, line{'+', l})
		}
		return out
	}
	// common[i][j] is how many lines a[i:] and b[j:] share.
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, line{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, line{'-', a[i]})
			i++
		default:
			out = append(out, line{'+', b[j]})
			j++
		}
	}
	return out
}
