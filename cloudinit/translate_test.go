package cloudinit

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/cloudinit/format"
)

var here = Addresses{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4"}

// What would take more memory or time than it may is refused, and what isn't
// text, each by name.
func TestHostileConfigs(t *testing.T) {
	bomb := "x: &a0 [z]\n"
	for i := range 30 {
		bomb += fmt.Sprintf("y%d: &a%d [*a%d, *a%d, *a%d]\n", i, i+1, i, i, i)
	}
	deep := "Content-Type: multipart/mixed; boundary=X0\n\n"
	for i := range 9 {
		deep += fmt.Sprintf("--X%d\nContent-Type: multipart/mixed; boundary=X%d\n\n", i, i+1)
	}
	deep += "--X9\n\n#!/bin/sh\n"
	for i := 9; i >= 0; i-- {
		deep += fmt.Sprintf("--X%d--\n", i)
	}
	var keys []string
	for i := range 2000 {
		keys = append(keys, fmt.Sprintf("k%d: 1", i))
	}
	big := base64.StdEncoding.EncodeToString([]byte(zipped(strings.Repeat("\x00", format.MaxSize/2))))
	for name, tc := range map[string]struct{ in, want string }{
		"100 MB":                   {head + strings.Repeat("#", 100<<20), "f:1: error: the config is larger than 16 MiB"},
		"gzip bomb":                {zipped(head + strings.Repeat("#", 100<<20)), "larger than 16 MiB"},
		"gzip that is cut off":     {zipped(head)[:20], "gzip: "},
		"alias bomb, unused":       {head + bomb, "there is no such key"},
		"alias bomb":               {head + bomb + "ssh_authorized_keys: *a30\n", "must be text, and is a list"},
		"aliases of a list":        {head + "x: &a [" + strings.Repeat("{name: a.conf, content: '[Unit]'},", 600) + "]\ncoreos: {units: [" + strings.Repeat("{name: a.service, drop_ins: *a},", 600) + "]}\n", "has more than 100000 keys and values, aliases counted"},
		"merged again and again":   {head + "users: [&a {" + strings.Join(keys[:30], ",") + "}, {<<: [" + strings.Repeat("*a,", 100000) + "]}]\n", "has more than 100000 keys and values, aliases counted"},
		"unknown keys":             {head + strings.Join(keys, "\n"), " error: 900 more of these are not told"},
		"alias of itself":          {head + "users: &a [*a]\n", "users[0] must be keys and values, and is a list"},
		"merge of itself":          {head + "coreos: &a {<<: *a}\n", "merged into each other more than 10 deep"},
		"merged lists":             {head + "coreos: {<<: [" + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "]}\n", "merged into each other more than 10 deep"},
		"unknown alias":            {head + "hostname: x\nusers: *nobody\n", "f:3: error: this is no YAML: unknown anchor"},
		"deep brackets":            {head + strings.Repeat("[", 20000), "exceeded max depth"},
		"deep lists":               {head + strings.Repeat("- ", 20000), "exceeded max depth"},
		"deep JSON":                {"{\"a\":" + strings.Repeat("[", 100000), "exceeded max depth"},
		"indented by a tab":        {head + "coreos:\n\tfleet: {}\n", "f:3: error: this is no YAML: the line is indented by a tab"},
		"a million values":         {head + "x: [" + strings.Repeat("a,", 1000000) + "]\n", "f:2: error: there are more than 500000 values or lines"},
		"a million values, JSON":   {"{\"x\":[" + strings.Repeat("1,", 1000000) + "1]}", "there are more than 500000 values or lines"},
		"NUL":                      {head + "hostname: x\nfqdn: \x00\n", "f:3: error: the control character 0x00 is not allowed"},
		"NUL, escaped":             {head + "hostname: \"a\\0\"\n", "f:2: error: hostname must be a host's name"},
		"Latin-1":                  {head + "hostname: x\nfqdn: caf\xe9\n", "f:3: error: this is not UTF-8"},
		"UTF-16":                   {multipart("", "Content-Type: text/cloud-config\n\n\xff\xfeh\x00\n"), "f:7: error: this is UTF-16: save it as UTF-8"},
		"NUL in Butane":            {"variant: fcos\nversion: 1.5.0\n\x00", "f:3: error: the control character 0x00"},
		"the same key twice":       {head + "hostname: a\nhostname: b\n", "hostname is given twice, first in line 2"},
		"the same key twice, JSON": {"{\"ignition\":{\"version\":\"3.4.0\"},\n\"ignition\":{\"version\":\"3.4.0\"}}", "f:2: error"},
		"two documents":            {head + "hostname: a\n---\nhostname: b\n", "f:4: error: this is a second document"},
		"two documents, Butane":    {"variant: fcos\nversion: 1.5.0\n---\nstorage: {}\n", "f:4: error: this is a second document"},
		"two documents, JSON":      {`{"ignition":{"version":"3.4.0"}}{"ignition":{"version":"3.4.0"}}`, "error"},
		"a second one is no YAML":  {head + "hostname: a\n---\n[\n", "this is no YAML"},
		"a tag of one's own":       {head + "hostname: !secret a\n", `f:2: error: the tag "!secret" is not known`},
		"a tag on keys":            {head + "coreos: !include {}\n", `the tag "!include" is not known`},
		"bad YAML":                 {head + "a: b\n c: [\n", "f:3: error: this is no YAML: "},
		"contents too large":       {head + "write_files:\n" + strings.Repeat("  - {path: /a, encoding: gz+b64, content: "+big+"}\n", 3), "larger than 16 MiB"},
		"contents by aliases":      {head + "hostname: &a " + strings.Repeat("x", 1<<20) + "\nwrite_files:\n" + strings.Repeat("  - {path: /a, content: *a}\n", 17), "all contents together are larger than 16 MiB"},
		"101 parts":                {multipart("", strings.Split(strings.Repeat("\n#!/bin/sh\n|", 101), "|")[:101]...), "there are more than 100 parts"},
		"parts in parts":           {deep, "multipart is nested deeper than 4"},
		"parts too large":          {multipart("", strings.Split(strings.Repeat("Content-Transfer-Encoding: base64\n\n"+big+"\n|", 3), "|")[:3]...), "the parts are larger than 16 MiB"},
		"aliases of a file":        {head + "write_files:\n- &a {path: /a}\n" + strings.Repeat("- *a\n", 60000), "has more than 100000 keys and values, aliases counted"},
	} {
		t.Run(name, func(t *testing.T) {
			got := said(tc.in, Options{})
			if !strings.Contains(got, " error: ") || !strings.Contains(got, tc.want) {
				t.Errorf("%.200q, want %q", got, tc.want)
			}
			if lines := strings.Count(got, "\n"); lines > 2*maxTold+2 {
				t.Errorf("it is told in %d lines", lines)
			}
		})
	}
}
