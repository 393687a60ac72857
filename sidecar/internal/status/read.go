package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// MaxStatus bounds the JSON of a status, in bytes. The longest that is told is
// shorter.
const MaxStatus = 512 << 10

// maxBraces bounds the objects of a status: an empty one takes 3 bytes there and 64
// in memory, which the container has little of. Texts may hold braces, too.
const maxBraces = 80_000

// maxEntries bounds each list of a status that is read. A recovery has at most
// 48 steps, and the other lists are shorter.
const maxEntries = 50

// ReadStatus reads the JSON of a status. Whoever has the sidecar's port may have
// written it: each text is bounded and holds nothing that controls a terminal.
func ReadStatus(raw []byte) (Status, error) {
	var s Status
	if len(raw) > MaxStatus {
		return s, fmt.Errorf("the answer is longer than %d bytes", MaxStatus)
	}
	if bytes.Count(raw, []byte("{")) > maxBraces {
		return s, fmt.Errorf("the answer has more than %d objects", maxBraces)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return Status{}, err
	}
	clean(reflect.ValueOf(&s).Elem(), maxLine)
	return s, nil
}

// clean bounds each text, in characters, and each list. It goes by the types, so that no
// field can be forgotten.
func clean(v reflect.Value, limit int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(safetext.Line(v.String(), limit))
	case reflect.Pointer:
		if !v.IsNil() {
			clean(v.Elem(), limit)
		}
	case reflect.Slice:
		v.SetLen(min(v.Len(), maxEntries))
		for i := range v.Len() {
			clean(v.Index(i), limit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() { // a time.Time has none
				clean(v.Field(i), limit)
			}
		}
	}
}

// JSON is the status as /status tells it.
func (s Status) JSON() ([]byte, error) {
	raw, err := json.MarshalIndent(s, "", "  ")
	return append(raw, '\n'), err
}
