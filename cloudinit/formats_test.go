package cloudinit

import (
	"bytes"
	"compress/gzip"
	"testing"
)

func TestFormats(t *testing.T) {
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write([]byte("#cloud-config \r\ncoreos: {units: [{name: a.service, enable: true}]}\n"))
	z.Close()
	const units = "systemd: {units: [{name: a.service, contents: \"[Service]\\nExecStart=/bin/true\\n\"}]}\n"
	for name, tc := range map[string]struct {
		in             string
		units, scripts int
	}{
		"cloud-config, gzip": {gz.String(), 1, 0},
		"fcos":               {"variant: fcos\nversion: 1.5.0\n" + units, 1, 0},
		"flatcar":            {"variant: flatcar\nversion: 1.1.0\n" + units, 1, 0},
		"Ignition":           {`{"ignition":{"version":"3.0.0"},"systemd":{"units":[{"name":"a.service","mask":true}]}}`, 1, 0},
		"script":             {"#!/bin/sh\n", 0, 1},
		"multipart": {"Content-Type: multipart/mixed; boundary=\"X\"\nMIME-Version: 1.0\n\n--X\n\n#!/bin/sh\n" +
			"--X\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\nI2Nsb3VkLWNvbmZpZwpjb3Jlb3M6IHt1bml0czogW3tuYW1lOiBhLnNlcnZpY2UsIG1hc2s6IHRydWV9XX0K\n" +
			"--X\n\n#cloud-config\ncoreos: {units: [{name: b.service, enable: true, command: start}]}\n--X--\n", 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			out, ps := Translate([]byte(tc.in), Options{})
			if ps.Failed() || len(out.Config.Systemd.Units) != tc.units || len(out.Scripts) != tc.scripts {
				t.Errorf("%s%+v", ps.InFile("f"), out)
			}
			if _, err := out.JSON(); err != nil {
				t.Error(err)
			}
		})
	}
}
