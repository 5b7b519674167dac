package rescue

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
)

// Snapshot keeps what etcd holds now in a file, for Restore. It is what one member
// has, which every write that was acknowledged until then has reached if it is well.
func Snapshot(ctx context.Context, o Options, file string) error {
	if _, err := os.Stat(file); err == nil {
		return fmt.Errorf("%s exists already: give each snapshot a name of its own", file)
	}
	var failed []error
	for _, url := range o.endpoints() {
		cfg, err := o.config(url)
		if err != nil {
			return err
		}
		if err = o.snapshot(ctx, url); err == nil {
			if _, err = snapshot.SaveWithVersion(ctx, zap.NewNop(), cfg, file); err == nil {
				info, err := os.Stat(file)
				if err == nil {
					o.Say(fmt.Sprintf("%s: %s, from %s", file, megabytes(info.Size()), url))
				}
				return err
			}
		}
		failed = append(failed, fmt.Errorf("%s: %w", url, err))
	}
	return fmt.Errorf("no etcd gives a snapshot: %w", errors.Join(failed...))
}

// snapshot makes sure that the member has all that was acknowledged: it answers only
// when it has caught up with the others.
func (o Options) snapshot(ctx context.Context, url string) error {
	c, err := o.client(url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = c.Get(ctx, "/")
	return err
}
