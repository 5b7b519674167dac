package doctor

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api"
	"golang.org/x/sys/unix"
)

// Room is told of a file system by what is left of it, in bytes and in files.
func TestRoomOnADisk(t *testing.T) {
	const blocks, files = 10 << 18, 1000 // of 4 KiB: 10 GiB
	for name, tt := range map[string]struct {
		free, freeFiles uint64
		flags           int64
		level           api.Level
		says            string
	}{
		"room":          {blocks / 2, files, 0, api.LevelOK, "5.0 GiB free (50%)"},
		"little":        {blocks * 8 / 100, files, 0, api.LevelWarning, "819 MiB free (8%)"},
		"none":          {0, files, 0, api.LevelError, "0 KiB free (0%)"},
		"few files":     {blocks / 2, files * 8 / 100, 0, api.LevelWarning, "80 files more fit (8%)"},
		"no file":       {blocks / 2, 0, 0, api.LevelError, "0 files more fit (0%)"},
		"can't be used": {blocks / 2, files, unix.ST_RDONLY, api.LevelError, "mounted read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			f := room("/run", unix.Statfs_t{Bsize: 4096, Blocks: blocks, Bavail: tt.free, Files: files, Ffree: tt.freeFiles, Flags: tt.flags})
			if f.Check != "disk" || f.Level != tt.level || !strings.Contains(f.Found, tt.says) {
				t.Errorf("%+v", f)
			}
			if f.Level != api.LevelOK && f.Remedy == "" {
				t.Errorf("%+v says nothing of what to do", f)
			}
		})
	}
}
