package safetext

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestLine_ReplacesUnprintableCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"as it is":                         "as it is",
		"  a \n b\t\r\nc  ":                "a b c",
		"\x1b[2J\x1b]0;owned\x07 done":     "?[2J?]0;owned? done",
		"C1 \u009b2J\u0085next":            "C1 ?2J next",
		"turned \u202eretupmoc\u202c":      "turned ?retupmoc?",
		"isolate \u2066x\u2069 mark\u200e": "isolate ?x? mark?",
		"line\u2028paragraph\u2029end":     "line paragraph end",
		"hidden\u200bword\ufeff":           "hidden?word?",
		"broken \xff\x9b2J":                "broken \ufffd\ufffd2J",
		"Grüße, 世界":                        "Grüße, 世界",
	} {
		t.Run(strconv.Quote(text), func(t *testing.T) { assert.Equal(t, want, Line(text, 100)) })
	}
}

func TestLine_LimitsTheLength(t *testing.T) {
	assert.Equal(t, "12345", Line("12345", 5))
	assert.Equal(t, "12345...", Line("123456", 5))
	assert.Equal(t, "12345", Line("12345 \n", 5), "what is cut off is nothing")
	assert.Equal(t, "1234...", Line("1234 678", 5), "no blank before the dots")
	assert.Equal(t, "ééé...", Line("éééé", 3), "characters, not bytes")
	long := Line(strings.Repeat("\x1b\u202e世 ", 1<<20), 1000)
	assert.LessOrEqual(t, utf8.RuneCountInString(long), 1003)
	assert.NotContains(t, long, "\x1b")
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[2J\u202e\u009b\n\xff", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit %= 1000
		got := Line(text, max(0, limit))
		assert.LessOrEqual(t, utf8.RuneCountInString(got), max(0, limit)+3)
		assert.True(t, utf8.ValidString(got))
		for _, r := range got {
			assert.True(t, r == ' ' || unicode.IsPrint(r) && !unicode.IsSpace(r), "%q", r)
		}
	})
}

func TestCapital_ChangesAWholeCharacter(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "A", "vault is sealed": "Vault is sealed", "über": "Über", "世界": "世界", "/path": "/path", "\xffa": "\ufffda",
	} {
		t.Run(strconv.Quote(text), func(t *testing.T) { assert.Equal(t, want, Capital(text)) })
	}
}

func TestError_KeepsTheWrappedError(t *testing.T) {
	assert.NoError(t, Error(nil, 10))
	wrapped := Error(errors.Join(io.ErrUnexpectedEOF, errors.New("\x1b[2J")), 100)
	assert.ErrorIs(t, wrapped, io.ErrUnexpectedEOF)
	assert.EqualError(t, wrapped, "unexpected EOF ?[2J")
	var timeout interface{ Timeout() bool }
	assert.ErrorAs(t, Error(deadline{}, 10), &timeout)
}

type deadline struct{}

func (deadline) Error() string    { return "late" }
func (deadline) Timeout() bool    { return true }
func (deadline) After() time.Time { return time.Time{} }
