package format

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	for in, want := range map[string]Kind{
		"#cloud-config": CloudConfig,
		"#cloud-config \t\r\nx: {variant: y}\nvariant: z": CloudConfig,
		"#cloud-config x":                   Unknown,
		" #cloud-config":                    Unknown,
		"#!/bin/sh\nvariant: fcos":          Script,
		"#!":                                Script,
		" \n{\"ignition\": {}}":             Ignition,
		"variant: fcos\nversion: 1.5.0":     Butane,
		"# mine\nversion: 1.5.0\nvariant :": Butane,
		"MIME-Version: 1.0\nContent-Type: Multipart/Mixed; boundary=x\n\n": Multipart,
		"Content-Type: text/plain\n\nx":                                    Unknown,
		"#include\nvariant: fcos":                                          Unknown,
		"## template: jinja\n#cloud-config":                                Unknown,
		"":                                                                 Unknown,
	} {
		if got := Detect([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if line, why := Explain([]byte(in)); line < 1 || why == "" {
			t.Errorf("%q: %d %q", in, line, why)
		}
	}
}

func TestDecompress(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("\xef\xbb\xbfx"))
	z.Close()
	for in, want := range map[string]string{"x": "x", "\xef\xbb\xbfx": "x", packed.String(): "x", "": ""} {
		if got, err := Decompress([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := Gunzip(packed.Bytes(), 3); err == nil {
		t.Error("four bytes are no more than three")
	}
	if got, err := Gunzip(packed.Bytes(), 4); err != nil || len(got) != 4 {
		t.Errorf("%q, %v", got, err)
	}
}

// A part's text is what it is, and Lines are those before it.
func TestParts(t *testing.T) {
	const text = "MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"=X=\"\n\nto be skipped\n--=X=\n\n#!a\n\n--=X= \r\n" +
		"Content-Type: text/cloud-config\nContent-Disposition: attachment; filename=x\n\n--X\nhostname: a\n--=X=\nContent-Transfer-Encoding: BASE64\n\nIyFi\nCg==\n--=X=--\nand this\n"
	all, err := Parts([]byte(text))
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, want := range []Part{{Script, []byte("#!a\n\n"), 7, false}, {CloudConfig, []byte("--X\nhostname: a\n"), 13, false}, {Script, []byte("#!b\n"), 18, true}} {
		if got := all[i]; got.Kind != want.Kind || string(got.Text) != string(want.Text) || got.Lines != want.Lines || got.Wrapped != want.Wrapped {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
	_, err = Parts([]byte(strings.Replace(text, "BASE64", "rot13", 1)))
	var inPart *PartError
	if !errors.As(err, &inPart) || inPart.Line != 17 {
		t.Errorf("%v", err)
	}
}
