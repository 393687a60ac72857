package unseal

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secretBytes returns a share whose every byte is recognized in any notation.
func secretBytes() []byte {
	b := make([]byte, 33)
	for i := range b {
		b[i] = byte(37*i + 101)
	}
	return b
}

// Ways in which a program comes to hold a Share.
type (
	exported struct{ Key Share }
	hidden   struct{ key Share }
	deep     struct {
		name string
		in   hidden
		list []hidden
		at   *hidden
		any  any
	}
	carrier struct{ key Share }
)

func (carrier) Error() string { return "an error that carries a key" }

// holders returns a share in everything that can hold one.
func holders(s Share) map[string]any {
	inner := hidden{s}
	return map[string]any{
		"a share":                           s,
		"a pointer to one":                  &s,
		"a slice":                           []Share{s, s},
		"a slice of pointers":               []*Share{&s},
		"an array":                          [2]Share{s, s},
		"a map by name":                     map[string]Share{"k": s},
		"an exported field":                 exported{s},
		"a pointer to an exported field":    &exported{s},
		"an unexported field":               inner,
		"a pointer to an unexported field":  &inner,
		"a slice of unexported fields":      []hidden{inner},
		"a map of unexported fields":        map[string]*hidden{"k": &inner},
		"unexported fields all the way":     deep{"n", inner, []hidden{inner}, &inner, inner},
		"a pointer to all that":             &deep{"n", inner, []hidden{inner}, &inner, &inner},
		"an error that carries it":          carrier{s},
		"an error that wraps one with it":   fmt.Errorf("sending %v: %w", s, carrier{s}),
		"errors joined":                     errors.Join(carrier{s}, errors.New("another")),
		"an interface in an anonymous type": struct{ V any }{s},
		"the key set":                       keySet{shares: []Share{s}},
		"a pointer to the key set":          &keySet{shares: []Share{s}},
	}
}

// notations lists pieces of raw as the verbs of fmt and the encoders write
// bytes: whatever shows a share shows at least one of them.
func notations(raw []byte) []string {
	const piece = 5
	found := map[string]bool{}
	for _, at := range []int{0, len(raw) / 2, len(raw) - piece} {
		part := raw[at : at+piece]
		list := make([]any, piece)
		for n, b := range part {
			list[n] = b
		}
		for _, verb := range "vdxXobcUqt" {
			for _, flag := range []string{"", "#", " ", "+"} {
				format := "%" + flag + string(verb)
				found[strings.Trim(fmt.Sprintf(format, part), `[]{}"`)] = true
				found[strings.Trim(fmt.Sprintf(format, list), `[]{}"`)] = true
			}
		}
		found[string(part)] = true
	}
	for at := range 3 { // base64 has three alignments
		found[base64.RawStdEncoding.EncodeToString(raw[at:at+9])] = true
		found[base64.RawURLEncoding.EncodeToString(raw[at:at+9])] = true
	}
	return slices.Collect(maps.Keys(found))
}

// assertHidden fails when text holds one of the notations of a share.
func assertHidden(t *testing.T, notations []string, text, how string) {
	t.Helper()
	for _, n := range notations {
		if strings.Contains(text, n) {
			t.Errorf("%s shows the share as %q:\n%s", how, n, text)
			return
		}
	}
}

func TestAssertHidden_FindsEveryNotation(t *testing.T) {
	raw := secretBytes()
	for _, text := range []string{
		string(raw), fmt.Sprint(raw), fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), fmt.Sprintf("%#v", raw), fmt.Sprintf("%d", raw),
		fmt.Sprintf("%b", raw), fmt.Sprintf("%q", raw), fmt.Sprintf("% x", raw), fmt.Sprintf("%U", raw),
		base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw[1:]), base64.StdEncoding.EncodeToString(raw[2:]),
	} {
		probe := &testing.T{}
		assertHidden(probe, notations(raw), text, "")
		assert.True(t, probe.Failed(), "not found in %q", text)
	}
}

func TestShare_IsRedactedUnderEveryVerb(t *testing.T) {
	raw := secretBytes()
	hide := notations(raw)
	verbs := "vTtbcdoOqxXUeEfFgGspwy%Z"
	for name, holder := range holders(NewShare(bytes.Clone(raw))) {
		t.Run(name, func(t *testing.T) {
			for _, verb := range verbs {
				for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "5.2", "*", "[1]"} {
					format := "%" + flags + string(verb)
					args := []any{holder}
					if flags == "*" {
						args = []any{3, holder}
					}
					assertHidden(t, hide, fmt.Sprintf(format, args...), format)
				}
			}
			assertHidden(t, hide, fmt.Sprint(holder, holder), "Sprint")
			assertHidden(t, hide, fmt.Sprintln(holder), "Sprintln")
			assertHidden(t, hide, string(fmt.Append(nil, holder)), "Append")
			assertHidden(t, hide, fmt.Errorf("%w and %v", errors.New("x"), holder).Error(), "Errorf")
			if err, ok := holder.(error); ok {
				assertHidden(t, hide, err.Error(), "Error")
			}
		})
	}
	assert.Equal(t, redacted, fmt.Sprint(NewShare(raw)))
	assert.Equal(t, redacted, fmt.Sprintf("%#v", NewShare(raw)))
}

func TestShare_IsRedactedByEveryEncoder(t *testing.T) {
	raw := secretBytes()
	hide := notations(raw)
	for name, holder := range holders(NewShare(bytes.Clone(raw))) {
		t.Run(name, func(t *testing.T) {
			text, _ := json.Marshal(holder)
			assertHidden(t, hide, string(text), "JSON")
			text, _ = json.MarshalIndent(map[string]any{"v": holder}, "", " ")
			assertHidden(t, hide, string(text), "nested JSON")
			text, _ = xml.Marshal(holder)
			assertHidden(t, hide, string(text), "XML")
			var stream bytes.Buffer
			_ = gob.NewEncoder(&stream).Encode(holder)
			assertHidden(t, hide, stream.String(), "gob")
		})
	}
	text, err := json.Marshal(exported{NewShare(raw)})
	require.NoError(t, err)
	assert.JSONEq(t, `{"Key":"[redacted]"}`, string(text))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("said", "value", NewShare(raw))
	slog.New(slog.NewJSONHandler(&log, nil)).Info("said", "value", NewShare(raw))
	assert.Equal(t, 2, strings.Count(log.String(), redacted), log.String())
}

func TestShare_IsRedactedByEveryLogger(t *testing.T) {
	raw := secretBytes()
	hide := notations(raw)
	for name, holder := range holders(NewShare(bytes.Clone(raw))) {
		t.Run(name, func(t *testing.T) {
			for _, asJSON := range []bool{false, true} {
				var out bytes.Buffer
				log := hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Trace, JSONFormat: asJSON})
				log.Info("said", "value", holder)
				log.Error("in a slice", "values", []any{holder, holder})
				log.Debug("in a map", "values", map[string]any{"k": holder})
				log.Warn("formatted", "value", hclog.Fmt("%v %+v %#v %x", holder, holder, holder, holder))
				log.With("always", holder).Trace("with it")
				log.Named(fmt.Sprint(holder)).Info(fmt.Sprint(holder))
				log.StandardLogger(nil).Printf("%v %d", holder, holder)
				assertHidden(t, hide, out.String(), fmt.Sprintf("hclog, JSON %t", asJSON))
				assert.NotEmpty(t, out.String())
			}
			var out bytes.Buffer
			for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				log := slog.New(handler)
				log.Info("said", "value", holder, "values", []any{holder}, slog.Group("group", "value", holder))
				log.With("always", holder).Info("with it")
			}
			assertHidden(t, hide, out.String(), "slog")
			assert.NotEmpty(t, out.String())
		})
	}
}

func TestShare_IsRedactedInAPanic(t *testing.T) {
	raw := secretBytes()
	share := NewShare(bytes.Clone(raw))
	hide := notations(raw)
	defer func() { assertHidden(t, hide, fmt.Sprint(recover()), "a panic") }()
	panic(share)
}

func TestShare_AppendHexEncodesTheBytes(t *testing.T) {
	raw := secretBytes()
	share := NewShare(bytes.Clone(raw))
	assert.Equal(t, "key="+hex.EncodeToString(raw), string(share.AppendHex([]byte("key="))))
	assert.Equal(t, 33, share.Len())

	dst := make([]byte, 0, 66)
	assert.Same(t, &dst[:1][0], &share.AppendHex(dst)[0], "hex within the capacity must not leave a second copy behind")
}

func TestShare_WipeZeroesTheBytesOfEveryCopy(t *testing.T) {
	raw := secretBytes()
	share := NewShare(raw)
	copied := share
	share.Wipe()
	assert.Equal(t, make([]byte, 33), raw)
	assert.Zero(t, share.Len())
	assert.Zero(t, copied.Len())
	assert.Empty(t, copied.AppendHex(nil))
	share.Wipe() // twice is harmless
}

func TestShare_ZeroValueIsEmpty(t *testing.T) {
	var zero Share
	assert.Zero(t, zero.Len())
	assert.Empty(t, zero.AppendHex(nil))
	assert.True(t, zero.Equal(Share{}))
	assert.Equal(t, redacted, zero.String())
	zero.Wipe()
	assert.Zero(t, zero.clone().Len())
}

func TestShare_CloneHasItsOwnBytes(t *testing.T) {
	share := NewShare(secretBytes())
	clone := share.clone()
	require.True(t, clone.Equal(share))
	share.Wipe()
	assert.True(t, clone.Equal(NewShare(secretBytes())), "wiping a share must not wipe its clone")

	again := clone.clone()
	clone.Wipe()
	assert.True(t, again.Equal(NewShare(secretBytes())), "wiping a clone must not wipe another")
}

func TestShare_EqualComparesContent(t *testing.T) {
	other := secretBytes()
	other[32]++
	assert.True(t, NewShare(secretBytes()).Equal(NewShare(secretBytes())))
	assert.False(t, NewShare(secretBytes()).Equal(NewShare(other)))
	assert.False(t, NewShare(secretBytes()).Equal(NewShare(secretBytes()[:32])))
	assert.False(t, NewShare(secretBytes()).Equal(Share{}))
}

func TestWipeAll_WipesEachShare(t *testing.T) {
	shares := []Share{NewShare(secretBytes()), {}, NewShare(secretBytes())}
	WipeAll(shares)
	for _, s := range shares {
		assert.Zero(t, s.Len())
	}
	WipeAll(nil)
}
