package kube

import (
	"strings"
	"unicode/utf8"
)

// text keeps what fits into limit bytes of a text whose opening quote was read.
// It cuts between characters.
func (f *filter) text(limit int) (whole bool, err error) {
	f.out.WriteByte('"')
	defer f.out.WriteByte('"')
	for whole = true; ; {
		b, err := f.byte()
		if err != nil || b == '"' {
			return whole, err
		}
		if !utf8.RuneStart(b) { // it goes with the byte before
			if whole {
				f.out.WriteByte(b)
			}
			continue
		}
		character := [6]byte{b}
		size := 1
		for b == '\\' && (size < 2 || size < 6 && character[1] == 'u') {
			if character[size], err = f.byte(); err != nil {
				return false, err
			}
			size++
		}
		if whole = whole && size <= limit; whole {
			limit -= size
			f.room -= size
			f.out.Write(character[:size])
		}
	}
}

// scalar keeps a number, a truth or null.
func (f *filter) scalar(b byte) error {
	for range maxNumber {
		if strings.IndexByte("+-.0123456789Eaeflnrstu", b) < 0 {
			return errNotJSON
		}
		f.out.WriteByte(b)
		var err error
		if b, err = f.byte(); err != nil {
			return err
		}
		if ends(b) {
			return f.unread()
		}
	}
	return errNotJSON
}

// skip reads over what begins with b.
func (f *filter) skip(b byte) error {
	for depth := 0; ; {
		switch b {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			if err := f.skipText(); err != nil {
				return err
			}
		}
		if depth == 0 && (b == '"' || b == '}' || b == ']') {
			return nil
		}
		var err error
		if b, err = f.byte(); err != nil {
			return err
		}
		if depth == 0 && ends(b) {
			return f.unread()
		}
	}
}

func (f *filter) skipText() error {
	for {
		b, err := f.byte()
		if err == nil && b == '\\' {
			_, err = f.byte()
		} else if b == '"' {
			return err
		}
		if err != nil {
			return err
		}
	}
}

// ends reports whether a number, a truth or null is over before b.
func ends(b byte) bool { return strings.IndexByte(",}] \n\t\r", b) >= 0 }

func (f *filter) unread() error {
	f.left++
	return f.in.UnreadByte()
}
