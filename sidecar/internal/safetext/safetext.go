// Package safetext makes texts that other programs wrote fit to be repeated: in
// a log, in a condition, on a terminal. Such a text may move a cursor, turn the
// direction of writing, begin a line of its own, or be a megabyte long.
package safetext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns a text on one line, without control and format characters, and
// of at most limit characters; one that is longer ends in "...".
func Line(text string, limit int) string {
	var b strings.Builder
	count, blank := 0, false
	for _, r := range text {
		if unicode.IsSpace(r) {
			blank = count > 0
			continue
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if blank {
			b.WriteByte(' ')
			count, blank = count+1, false
		}
		if count >= limit {
			return strings.TrimRight(b.String(), " ") + "..."
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}

// Capital returns a text that begins with a capital letter.
func Capital(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// Error returns an error that reads like Line, and is err all the same; nil for
// nil.
func Error(err error, limit int) error {
	if err == nil {
		return nil
	}
	return lineError{err, Line(err.Error(), limit)}
}

type lineError struct {
	error
	text string
}

func (e lineError) Error() string { return e.text }

func (e lineError) Unwrap() error { return e.error }
