package member

import (
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// The log's first files go in time; the last tells whose it is, too.
func TestMemberID(t *testing.T) {
	s, _, err := Parse(nil, []string{"ETCD_DATA_DIR=" + t.TempDir()}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.memberID(); err == nil {
		t.Errorf("without a log: %x", id)
	}
	defer func(usual int64) { wal.SegmentSizeBytes = usual }(wal.SegmentSizeBytes)
	wal.SegmentSizeBytes = 1000
	const want = 0x8ec987790ae86365
	head, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: proto.Uint64(want), ClusterID: proto.Uint64(1)})
	if err != nil {
		t.Fatal(err)
	}
	w, err := wal.Create(zap.NewNop(), s.WALDir, head)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for index, size := range []int{0, 1000, 10, 10} {
		entry := &raftpb.Entry{Term: proto.Uint64(1), Index: proto.Uint64(uint64(index + 1)), Data: make([]byte, size)}
		if err := w.Save(&raftpb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(uint64(index + 1))}, []*raftpb.Entry{entry}); err != nil {
			t.Fatal(err)
		}
		if id, err := s.memberID(); err != nil || id != want {
			t.Errorf("after %d entries: %x, %v", index+1, id, err)
		}
	}
	if files, err := filepath.Glob(filepath.Join(s.WALDir, "*.wal")); err != nil || len(files) < 2 {
		t.Errorf("%v, %v", files, err)
	}
}
