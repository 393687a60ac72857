// Package safetexttest judges texts that others had a part in.
package safetexttest

import (
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// RequireHarmless fails the test unless the text has at most limit characters, is on one
// line, and holds nothing that a terminal would act on.
func RequireHarmless(t testing.TB, text string, limit int) {
	t.Helper()
	require.LessOrEqual(t, utf8.RuneCountInString(text), limit, text)
	require.True(t, utf8.ValidString(text), "%q", text)
	for _, r := range text {
		require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
	}
}
