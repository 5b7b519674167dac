package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func agentSocket() string { return os.Getenv("SSH_AUTH_SOCK") }

// agentKeys gives the keys that the user's agent holds. They can be used until
// done is called.
func agentKeys(p *patience) (signers []ssh.Signer, done func(), err error) {
	const remedy = "start one (eval $(ssh-agent)) and give it a key (ssh-add)"
	socket := agentSocket()
	if socket == "" {
		return nil, nil, errors.New("no SSH agent is running: " + remedy)
	}
	p.waitFor("the SSH agent at " + socket + " (SSH_AUTH_SOCK) hangs")
	conn, err := (&net.Dialer{}).DialContext(p, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("no SSH agent answers at SSH_AUTH_SOCK: %w: %s", err, remedy)
	}
	// The agent's client knows no context: it ends when its connection does.
	stop := context.AfterFunc(p, func() { conn.Close() })
	signers, err = agent.NewClient(conn).Signers()
	switch {
	case err != nil:
		err = fmt.Errorf("the SSH agent: %w", err)
	case len(signers) == 0:
		err = errors.New("the SSH agent holds no key: give it one (ssh-add)")
	}
	if err != nil {
		stop()
		conn.Close()
		return nil, nil, err
	}
	return signers, func() { stop(); conn.Close() }, nil
}
