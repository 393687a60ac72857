package kube

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// text keeps what fits into limit bytes of a text whose opening quote was read, and
// reports whether that is all of it. It cuts between characters.
func (f *filter) text(limit int) (whole bool) {
	f.out.WriteByte('"')
	defer f.out.WriteByte('"')
	whole = true
	following := 0 // bytes of a character that was counted
	for {
		b := f.byte()
		if b == '"' || f.err != nil {
			return whole
		}
		if !utf8.RuneStart(b) && following > 0 {
			if following--; whole {
				f.out.WriteByte(b)
			}
			continue
		}
		character := [6]byte{b}
		size := 1
		for b == '\\' && (size < 2 || size < 6 && character[1] == 'u') {
			character[size] = f.byte()
			size++
		}
		cost := size
		if following = 0; b >= utf8.RuneSelf { // a decoder makes three bytes of each that is no text
			following = max(0, bits.LeadingZeros8(^b)-1)
			cost = max(3, 1+following)
		}
		if whole = whole && cost <= limit; whole {
			limit -= cost
			f.room -= cost
			f.out.Write(character[:size])
		}
	}
}

// scalar keeps a number, a truth or null.
func (f *filter) scalar(b byte) {
	for range maxNumber {
		if strings.IndexByte("+-.0123456789Eaeflnrstu", b) < 0 {
			break
		}
		f.out.WriteByte(b)
		if b = f.byte(); ends(b) {
			f.unread()
			return
		}
	}
	f.fail(errNotJSON)
}

// skip reads over what begins with b.
func (f *filter) skip(b byte) {
	for depth := 0; f.err == nil; {
		switch b {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			f.skipText()
		}
		if depth == 0 && (b == '"' || b == '}' || b == ']') {
			return
		}
		if b = f.byte(); depth == 0 && ends(b) {
			f.unread()
			return
		}
	}
}

func (f *filter) skipText() {
	for f.err == nil {
		switch f.byte() {
		case '\\':
			f.byte()
		case '"':
			return
		}
	}
}

// ends reports whether a number, a truth or null is over before b.
func ends(b byte) bool { return strings.IndexByte(",}] \n\t\r", b) >= 0 }

func (f *filter) unread() {
	f.left++
	f.fail(f.in.UnreadByte())
}
