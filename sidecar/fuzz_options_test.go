package main

import (
	"encoding/base64"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fuzzedKey stands in inputs as @ in hex and as $ in base64.
var fuzzedKey = []byte("\x5f\x1d\x9a\xe0\x37\x8b\xc4\x42\x11\x76\xfd\x0b\x83\xe9\xa2\x5c" +
	"\x6e\x04\xb9\xd7\x3a\x9f\x12\xc8\x5b\xe6\x01\x37\xda\x44\xf0\x91\x8d")

func withKey(text string) string {
	inHex, inBase64 := hex.EncodeToString(fuzzedKey), base64.StdEncoding.EncodeToString(fuzzedKey)
	return strings.NewReplacer("@", inHex, "$", inBase64).Replace(text)
}

// requireHidden fails where a text shows eight bytes of the key.
func requireHidden(t *testing.T, text, how string) {
	t.Helper()
	lower := strings.ToLower(text)
	for i := 0; i+8 <= len(fuzzedKey); i++ {
		require.NotContains(t, lower, hex.EncodeToString(fuzzedKey[i:i+8]), how)
	}
	for i := 0; i+9 <= len(fuzzedKey); i += 3 {
		require.NotContains(t, text, base64.StdEncoding.EncodeToString(fuzzedKey[i:i+9]), how)
	}
}

// FuzzArguments has a key in any place of a command line and of the environment: what is
// refused is told, and shows nothing of it.
func FuzzArguments(f *testing.F) {
	for _, text := range []string{
		"--keys\n/keys\n--vault-uid=@", "--@", "--keys=$\n--http-bind\n@", "@\n$", "-$=1", "--eso-stores=a/@,$",
		"--watch=@", "--", "--vault-addr=http://@",
	} {
		f.Add(text, "VAULT_ADDR=$\nLOG_LEVEL='@'")
	}
	f.Fuzz(func(t *testing.T, arguments, variables string) {
		env := map[string]string{}
		for line := range strings.SplitSeq(withKey(variables), "\n") {
			name, value, _ := strings.Cut(line, "=")
			env[name] = value
		}
		args := strings.Split(withKey(arguments), "\n")
		for _, own := range [][]option{nil, checkOptions, statusOptions} {
			c, err := parse(args, environment(env), own...)
			if err != nil {
				requireHidden(t, err.Error(), "the error")
				require.True(t, utf8.ValidString(err.Error()), "%q", err)
			}
			for _, r := range c.refused {
				requireHidden(t, r.Error(), "what is refused")
			}
		}
	})
}

// FuzzOption gives any value to an option: the flag and the variable take the same, a key
// is no value of any, and what is refused leaves the default.
func FuzzOption(f *testing.F) {
	for i, o := range options {
		f.Add(uint8(i), samples[o.flag].one)
		f.Add(uint8(i), "'$'")
	}
	f.Fuzz(func(t *testing.T, index uint8, value string) {
		o := options[int(index)%len(options)]
		value = withKey(value)
		if bare(value) == "" {
			return // a variable that is not set
		}
		flagged, flagErr := parse([]string{"--" + o.flag + "=" + value}, noVariables)
		set, setErr := parse(nil, environment(map[string]string{o.env: value}))
		require.Equal(t, flagErr == nil, setErr == nil)
		require.Equal(t, len(flagged.refused), len(set.refused))
		if flagErr == nil && len(set.refused) == 0 {
			for _, key := range []string{"@", "$"} {
				require.NotEqual(t, withKey(key), strings.TrimPrefix(bare(value), "/"), "a key is accepted by --%s", o.flag)
			}
		}
		if flagErr == nil && len(set.refused) > 0 {
			defaults, err := parse(nil, noVariables)
			require.NoError(t, err)
			require.Equal(t, unrefused(defaults), unrefused(set))
		}
		require.True(t, reflect.DeepEqual(unrefused(flagged), unrefused(set)), "%+v, %+v", flagged, set)
	})
}

// unrefused is a config without how it came to be.
func unrefused(c config) config {
	c.given, c.refused = nil, nil
	return c
}
