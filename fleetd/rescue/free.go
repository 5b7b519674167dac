package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// defragTime bounds the time that a member takes to write its database anew: some
// seconds for a gigabyte, and disks may be slow.
const defragTime = 10 * time.Minute

// Free makes room in etcd: it has it forget its history, has one member after the
// other give back what is unused, the leader last, and lifts the alarm that keeps
// everybody from writing.
func Free(ctx context.Context, o Options) error {
	c, err := o.client(o.endpoints()...)
	if err != nil {
		return err
	}
	defer c.Close()
	members, err := sizes(ctx, c)
	if err != nil {
		return err
	}
	if err := forget(ctx, c); err != nil {
		return err
	}
	var full []error
	for _, m := range members {
		after, err := m.defragment(ctx, c)
		if err != nil {
			return fmt.Errorf("member %s: %w; run this again when it is well", m, err)
		}
		o.Say(fmt.Sprintf("member %s: %s of %s, before %s", m, megabytes(after), quota(m.quota), megabytes(m.size)))
		if m.quota > 0 && after >= m.quota {
			full = append(full, fmt.Errorf("member %s: what it must keep, %s, is more than its quota: raise ETCD_QUOTA_BACKEND_BYTES of etcd2.service there, restart it, and run this again", m, megabytes(after)))
		}
	}
	if len(full) > 0 {
		return errors.Join(full...)
	}
	return o.disarm(ctx, c)
}

// size is how large a member's database is.
type size struct {
	name, url   string
	size, quota int64
	leads       bool
}

func (m size) String() string { return m.name }

// sizes asks all members, the leader last.
func sizes(ctx context.Context, c *clientv3.Client) ([]size, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("who the members are: %w", err)
	}
	var all []size
	for _, m := range list.Members {
		if len(m.ClientURLs) == 0 {
			return nil, fmt.Errorf("member %x has not started yet", m.ID)
		}
		resp, err := c.Status(ctx, m.ClientURLs[0])
		if err != nil {
			return nil, fmt.Errorf("member %s (%s) does not answer: %w; while it is down its database can't be made smaller: start it, or replace it (fleetd etcd replace)", m.Name, m.ClientURLs[0], err)
		}
		all = append(all, size{m.Name, m.ClientURLs[0], resp.DbSize, resp.DbSizeQuota, resp.Leader == m.ID})
	}
	slices.SortStableFunc(all, func(a, b size) int {
		switch {
		case a.leads == b.leads:
			return 0
		case a.leads:
			return 1
		}
		return -1
	})
	return all, nil
}

// forget has etcd forget its history until now.
func forget(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, defragTime)
	defer cancel()
	now, err := c.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("asking for the revision: %w", err)
	}
	_, err = c.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("forgetting history: %w", err)
	}
	return nil
}

// defragment has a member write its database anew, and gives its size after that.
func (m size) defragment(ctx context.Context, c *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, defragTime)
	defer cancel()
	if _, err := c.Defragment(ctx, m.url); err != nil {
		return 0, err
	}
	resp, err := c.Status(ctx, m.url)
	if err != nil {
		return 0, err
	}
	return resp.DbSize, nil
}

// disarm lifts the alarm of a lack of room, and no other.
func (o Options) disarm(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := c.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("asking for alarms: %w", err)
	}
	for _, a := range list.Alarms {
		switch a.Alarm {
		case pb.AlarmType_NOSPACE:
			if _, err := c.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
				return fmt.Errorf("lifting the alarm: %w", err)
			}
			o.Say(fmt.Sprintf("the alarm of member %x is lifted: etcd takes writes again", a.MemberID))
		case pb.AlarmType_CORRUPT:
			o.Say(fmt.Sprintf("member %x has other data than the others (alarm CORRUPT): on its host, move the data away and run fleetd etcd replace", a.MemberID))
		}
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func quota(n int64) string {
	if n == 0 {
		return "no one knows how many" // an etcd older than 3.6
	}
	return megabytes(n)
}
