package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// dialSecure is connect with all of a Config.
func dialSecure(t testing.TB, cfg Config) *Registry {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	cfg.Log = logrus.NewEntry(log)
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 3 * time.Second
	}
	r, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// refusal asks until the error says so: the first may be another's.
func refusal(t testing.TB, r *Registry, want ...string) {
	t.Helper()
	var err error
	defer func() {
		if t.Failed() {
			t.Log(err)
		}
	}()
	eventually(t, strings.Join(want, ", "), func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err = r.Revision(ctx); err == nil {
			t.Fatal("etcd let fleet in")
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				return false
			}
		}
		return true
	})
	if h := r.Health(); h == nil || !strings.Contains(h.Error(), want[0]) {
		t.Errorf("its health is said to be %v", h)
	}
}

func TestCompatFleetdTLS(t *testing.T) {
	t.Parallel()
	ca, other := etcdtest.NewCA(t, "ca"), etcdtest.NewCA(t, "other")
	serverCert, serverKey := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	open := etcdtest.NewSecure(t, serverCert, serverKey, nil)
	closed := etcdtest.NewSecure(t, serverCert, serverKey, ca)
	elsewhereCert, elsewhereKey := ca.Issue(t, "elsewhere", "etcd.example.com", time.Hour)
	elsewhere := etcdtest.NewSecure(t, elsewhereCert, elsewhereKey, nil)
	oldCert, oldKey := ca.Issue(t, "old", "127.0.0.1", -time.Hour)
	old := etcdtest.NewSecure(t, oldCert, oldKey, nil)
	cert, key := ca.Issue(t, "client", "client", time.Hour)
	strangeCert, strangeKey := other.Issue(t, "strange", "client", time.Hour)
	expiredCert, expiredKey := ca.Issue(t, "expired", "client", -time.Hour)
	plain := etcd.Server(t).Endpoints()[0]

	tests := []struct {
		name string
		cfg  Config
		want []string // in the error; nil: fleet is let in
	}{
		{"ca", Config{Endpoints: []string{open}, CAFile: ca.File}, nil},
		{"certificate", Config{Endpoints: []string{closed}, CAFile: ca.File, CertFile: cert, KeyFile: key}, nil},
		{"certificate that nobody asks for", Config{Endpoints: []string{open}, CAFile: ca.File, CertFile: cert, KeyFile: key}, nil},
		{"plain and secure endpoints together", Config{Endpoints: []string{"http://127.0.0.1:1", open}, CAFile: ca.File}, nil},
		{"secure and plain endpoints together", Config{Endpoints: []string{"https://127.0.0.1:1", plain}, CAFile: ca.File}, nil},
		{"no ca", Config{Endpoints: []string{open}}, []string{open, "etcd_cafile (now not set)"}},
		{"another ca", Config{Endpoints: []string{open}, CAFile: other.File}, []string{open, "etcd_cafile (now " + other.File + ")"}},
		{"another name", Config{Endpoints: []string{elsewhere}, CAFile: ca.File}, []string{elsewhere, "correct etcd_servers", "127.0.0.1"}},
		{"expired server", Config{Endpoints: []string{old}, CAFile: ca.File}, []string{old, "not valid at this time", "expired"}},
		{"no certificate", Config{Endpoints: []string{closed}, CAFile: ca.File}, []string{closed, "etcd_certfile not set"}},
		{"certificate of another ca", Config{Endpoints: []string{closed}, CAFile: ca.File, CertFile: strangeCert, KeyFile: strangeKey}, []string{closed, "etcd_certfile " + strangeCert}},
		{"expired certificate", Config{Endpoints: []string{closed}, CAFile: ca.File, CertFile: expiredCert, KeyFile: expiredKey}, []string{closed, "etcd_certfile " + expiredCert + " (it expired at "}},
		{"http where it is https", Config{Endpoints: []string{"http" + strings.TrimPrefix(open, "https")}}, []string{"write https://"}},
		{"https where it is http", Config{Endpoints: []string{"unixs" + strings.TrimPrefix(plain, "unix")}}, []string{"write http://"}},
		{"nothing there", Config{Endpoints: []string{"https://127.0.0.1:1"}}, []string{"https://127.0.0.1:1: ", "connection refused"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := dialSecure(t, tt.cfg)
			if tt.want != nil {
				refusal(t, r, tt.want...)
				return
			}
			if _, err := r.Revision(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTLSFilesThatCannotBe(t *testing.T) {
	t.Parallel()
	ca := etcdtest.NewCA(t, "ca")
	cert, key := ca.Issue(t, "client", "client", time.Hour)
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"missing ca":        {Config{CAFile: "/nowhere/ca.pem"}, "etcd_cafile: open /nowhere/ca.pem"},
		"no ca":             {Config{CAFile: key}, "etcd_cafile " + key + ": there is no PEM certificate"},
		"missing key":       {Config{CertFile: cert, KeyFile: "/nowhere/key.pem"}, "etcd_keyfile /nowhere/key.pem"},
		"another's key":     {Config{CertFile: ca.File, KeyFile: key}, "etcd_certfile " + ca.File},
		"a key for a cert":  {Config{CertFile: key, KeyFile: key}, "etcd_certfile " + key},
		"cert without keys": {Config{CertFile: cert}, "etcd_keyfile not set"},
	} {
		tt.cfg.Endpoints = []string{"https://127.0.0.1:1"}
		if _, err := Dial(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSFilesAreReadAnew(t *testing.T) {
	t.Parallel()
	ca, other := etcdtest.NewCA(t, "ca"), etcdtest.NewCA(t, "other")
	url := func() string {
		cert, key := ca.Issue(t, "server", "127.0.0.1", time.Hour)
		return etcdtest.NewSecure(t, cert, key, ca)
	}()
	cert, key := other.Issue(t, "client", "client", time.Hour)
	r := dialSecure(t, Config{Endpoints: []string{url}, CAFile: ca.File, CertFile: cert, KeyFile: key})
	refusal(t, r, "etcd_certfile "+cert)
	newCert, newKey := ca.Issue(t, "client", "client", time.Hour)
	ok(t, os.Rename(newKey, key))
	ok(t, os.Rename(newCert, cert))
	eventually(t, "the new certificate is used", func() bool { _, err := r.Revision(t.Context()); return err == nil })
}

func TestCompatFleetdAuth(t *testing.T) {
	t.Parallel()
	prefix := etcdtest.Prefix()
	s := etcdtest.NewWithAuth(t, prefix)
	config := func(user, password, prefix string) Config {
		return Config{Endpoints: s.Endpoints(), Username: user, Password: password, Prefix: prefix}
	}
	t.Run("right", func(t *testing.T) {
		r := dialSecure(t, config("fleet", "secret", prefix))
		if _, err := r.Join(t.Context(), machine.Machine{ID: "m", BootID: "b"}, time.Minute); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		refusal(t, dialSecure(t, config("fleet", "s3cret", prefix)), "etcd refuses fleet", `etcd_username (now "fleet") and etcd_password`)
	})
	t.Run("nobody", func(t *testing.T) {
		refusal(t, dialSecure(t, config("", "", prefix)), "etcd refuses fleet", "set etcd_username and etcd_password")
	})
	t.Run("elsewhere", func(t *testing.T) {
		r := dialSecure(t, config("fleet", "secret", "/elsewhere/"))
		refusal(t, r, "etcd refuses fleet", "etcdctl role grant-permission ROLE readwrite --prefix=true /elsewhere/")
		var refused *RefusedError
		if !errors.As(r.Health(), &refused) {
			t.Errorf("%#v", r.Health())
		}
	})
	t.Run("not needed", func(t *testing.T) {
		cfg := config("fleet", "secret", etcdtest.Prefix())
		cfg.Endpoints = etcd.Server(t).Endpoints() // has no users
		if _, err := dialSecure(t, cfg).Revision(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A token ends after a second or two without use; renewing a lease needs none,
// and must not log in anew each time: each login is a write.
func TestAuthOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	prefix := etcdtest.Prefix()
	s := etcdtest.NewWithAuth(t, prefix)
	r := dialSecure(t, Config{Endpoints: s.Endpoints(), Username: "fleet", Password: "secret", Prefix: prefix})
	p, err := r.Join(t.Context(), machine.Machine{ID: "m", BootID: "b"}, time.Minute)
	ok(t, err)
	followed := follow(t, r.Follow)
	followed.wait(t, "the machine", func(v *record.View) bool { return v.Machines["m"].ID == "m" })
	before := s.Proposals()
	for range 5 {
		ok(t, p.renew(t.Context()))
	}
	if after := s.Proposals(); after != before {
		t.Errorf("five renewals of a lease wrote %d entries to etcd's log", after-before)
	}
	idle := time.NewTimer(4 * time.Second) // nothing tells of a token's end
	defer idle.Stop()
	for range 3 {
		ok(t, p.renew(t.Context()))
	}
	<-idle.C
	s.Stop()
	s.Start(t) // and has forgotten all tokens
	eventually(t, "a write succeeds", func() bool {
		return p.Update(t.Context(), machine.Machine{ID: "m", BootID: "b", IP: "10.0.0.1"}) == nil
	})
	followed.wait(t, "the change", func(v *record.View) bool { return v.Machines["m"].IP == "10.0.0.1" })
}

func TestAuthAfterThePasswordWasChanged(t *testing.T) {
	t.Parallel()
	prefix := etcdtest.Prefix()
	s := etcdtest.NewWithAuth(t, prefix)
	r := dialSecure(t, Config{Endpoints: s.Endpoints(), Username: "fleet", Password: "secret", Prefix: prefix})
	_, err := r.Revision(t.Context())
	ok(t, err)
	s.SetPassword(t, "fleet", "new")
	refusal(t, r, "etcd refuses fleet", "etcd_password")
	s.SetPassword(t, "fleet", "secret")
	eventually(t, "fleet is let in again", func() bool { _, err := r.Revision(t.Context()); return err == nil })
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	r := dialSecure(t, Config{Endpoints: append(s.Endpoints(), "http://127.0.0.1:1")})
	all := r.Endpoints(t.Context())
	if len(all) != 2 || all[0].Error != "" || !all[0].Leader || all[0].Version == "" || all[0].DBSize == 0 {
		t.Errorf("%+v", all)
	}
	if len(all) == 2 && (all[1].URL != "http://127.0.0.1:1" || !strings.Contains(all[1].Error, "refused")) {
		t.Errorf("%+v", all[1])
	}
}

// The default endpoints are two, of which one is never there: its absence must
// not hide what is wrong with the other.
func TestOneTroubleDoesNotHideAnother(t *testing.T) {
	t.Parallel()
	link := etcd.Server(t).Link(t)
	r := dialSecure(t, Config{Endpoints: append(link.Endpoints(), "http://127.0.0.1:1"), RequestTimeout: 200 * time.Millisecond})
	eventually(t, "an answer", func() bool { _, err := r.Revision(t.Context()); return err == nil })
	link.Freeze()
	defer link.Mend()
	refusal(t, r, "context deadline exceeded; also http://127.0.0.1:1: dial tcp")
}

func TestJoinSaysWhyNot(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&log)
	r, err := Dial(Config{Endpoints: []string{"http://127.0.0.1:1"}, RequestTimeout: time.Second, Log: logrus.NewEntry(logger)})
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, ttl); err == nil {
		t.Fatal("joined nothing")
	}
	if n := strings.Count(log.String(), "cannot join the cluster yet"); n != 1 || !strings.Contains(log.String(), "http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused") {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// etcd takes the name in a client's certificate for a user's, if nobody logs in.
func TestAuthComesBeforeTheCertificatesName(t *testing.T) {
	t.Parallel()
	ca := etcdtest.NewCA(t, "ca")
	serverCert, serverKey := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	url := etcdtest.NewSecure(t, serverCert, serverKey, ca)
	cert, key := ca.Issue(t, "client", "client", time.Hour)
	cfg := Config{Endpoints: []string{url}, CAFile: ca.File, CertFile: cert, KeyFile: key, Username: "root", Password: "toor", Prefix: etcdtest.Prefix()}
	r := dialSecure(t, cfg)
	_, err := r.Revision(t.Context()) // it has no users yet
	ok(t, err)
	tls, err := tlsFiles{ca.File, cert, key}.config()
	ok(t, err)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, TLS: tls, Logger: zap.NewNop()})
	ok(t, err)
	defer c.Close()
	_, err = c.UserAdd(t.Context(), "root", "toor")
	ok(t, err)
	_, err = c.UserGrantRole(t.Context(), "root", "root")
	ok(t, err)
	_, err = c.AuthEnable(t.Context())
	ok(t, err)
	_, err = dialSecure(t, cfg).Revision(t.Context())
	ok(t, err)
	eventually(t, "one that has been there before logs in", func() bool { _, err := r.Revision(t.Context()); return err == nil })
	cfg.Password = "wrong"
	refusal(t, dialSecure(t, cfg), "etcd refuses fleet", "etcd_password")
	cfg.Username, cfg.Password = "", ""
	refusal(t, dialSecure(t, cfg), "etcd refuses fleet", "needs a role")
}

// Leases need no permission: that they can be had does not mean that all is well.
func TestRefusalOutlastsLeases(t *testing.T) {
	t.Parallel()
	s := etcdtest.NewWithAuth(t, etcdtest.Prefix())
	r := dialSecure(t, Config{Endpoints: s.Endpoints(), Username: "fleet", Password: "secret", Prefix: "/elsewhere/"})
	refusal(t, r, "etcd refuses fleet")
	lease, err := r.grant(t.Context(), ttl)
	ok(t, err)
	_, err = r.keepAliveOnce(t.Context(), lease.ID)
	ok(t, err)
	var refused *RefusedError
	if !errors.As(r.Health(), &refused) {
		t.Errorf("its health is said to be %v", r.Health())
	}
}
