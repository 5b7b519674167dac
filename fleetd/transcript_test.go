package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fleetd": asFleetd, "coreos-cloudinit": main})
}

// TestTranscripts plays the sessions in testdata. None of them changes this
// host: what is applied is applied to an image. $SERVER serves the session's
// files, /gone is never there, and /late is a cloud-config from the second
// request on.
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			requests := 0
			files := http.FileServer(http.Dir(env.WorkDir))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/late" {
					files.ServeHTTP(w, r)
					return
				}
				if requests++; requests == 1 {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				fmt.Fprint(w, "#cloud-config\nhostname: late\n")
			}))
			env.Defer(srv.Close)
			env.Setenv("SERVER", srv.URL)
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("there is no condition %s", cond)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ends": endsCommand},
	})
}

// endsCommand runs a program that must end with a status: ends 2 fleetd -x
func endsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ends STATUS COMMAND...")
	}
	script := `"$@"; status=$?; [ $status = ` + args[0] + ` ] || { echo "it ended with $status" >&2; exit 1; }`
	ts.Check(ts.Exec("sh", append([]string{"-c", script, "sh"}, args[1:]...)...))
}
