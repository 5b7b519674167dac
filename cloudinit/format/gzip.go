package format

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
)

// MaxSize bounds a config, and what is unwrapped of it, in bytes.
const MaxSize = 16 << 20

var gzipMagic, byteOrderMark = []byte{0x1f, 0x8b}, []byte("\xef\xbb\xbf")

// Decompress gives a gzipped config's text; any other as it is. Editors on
// Windows begin a file with a mark that isn't text: it goes.
func Decompress(text []byte) ([]byte, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("the config is larger than %d MiB", MaxSize>>20)
	}
	if bytes.HasPrefix(text, gzipMagic) {
		var err error
		if text, err = Gunzip(text, MaxSize); err != nil {
			return nil, err
		}
	}
	return bytes.TrimPrefix(text, byteOrderMark), nil
}

// Gunzip decompresses data to at most limit bytes.
func Gunzip(data []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if len(out) > limit {
		return nil, fmt.Errorf("gzip: decompressed, the config is larger than %d MiB", MaxSize>>20)
	}
	return out, nil
}
