package systemd

import "context"

// Manager is how systemd itself is.
type Manager struct {
	Version string
}

// Manager asks systemd how it is.
func (c *Client) Manager(ctx context.Context) (Manager, error) {
	var m Manager
	err := c.managerProperty(ctx, "Version", &m.Version)
	return m, err
}
