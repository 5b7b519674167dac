package api

import (
	"bufio"
	"bytes"
	"io"

	"github.com/fleet-project/fleet/unit"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A list may have a hundred thousand rows, and encoding/json goes through each of
// them several times. Lists and streams are read by its successor, with the
// meaning that encoding/json gives them.

// readAtOnce is how many bytes of an answer are taken from its connection at a
// time: as many as a socket is likely to have.
const readAtOnce = 64 << 10

// asEncodingJSON has encoding/json's meaning, but for its words of what is wrong
// with an answer: for those it would look at all of it beforehand.
var asEncodingJSON = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false))

// newDecoder reads JSON values, one after the other.
func newDecoder(r io.Reader) *jsontext.Decoder {
	return jsontext.NewDecoder(bufio.NewReaderSize(r, readAtOnce), asEncodingJSON, shareOptions())
}

// shareOptions has the options of units that come to the same be read once: lists
// are sorted, so the next unit is likely to be of the same template. All of them
// have the slice.
func shareOptions() jsonv2.Options {
	var written []byte
	var read []unit.Option
	return jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(in *jsontext.Decoder, options *[]unit.Option) error {
		text, err := in.ReadValue()
		if err != nil {
			return err
		}
		if !bytes.Equal(text, written) {
			var all []unit.Option
			if err := jsonv2.Unmarshal(text, &all, asEncodingJSON); err != nil {
				return err
			}
			written, read = append(written[:0], text...), all
		}
		*options = read
		return nil
	}))
}
