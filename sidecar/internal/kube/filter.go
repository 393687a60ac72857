package kube

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// What may be read of an answer, and what is kept of it. An object in etcd has
// 1.5 MiB by default, so that one alone always passes.
const (
	maxRead   = 8 << 20   // bytes of a page, or of an event of a watch
	maxKept   = 256 << 10 // bytes of that
	maxOfOne  = 16 << 10  // bytes of an object, from which on its lists end
	maxString = 6 << 10   // bytes of a text
	minString = 1 << 9    // and of one for which there is no more room
	maxName   = 320       // bytes of a field's name; labels have up to 317
	maxList   = 64        // entries of a list in an object
	maxNumber = 64        // bytes
	EntryCost = 32        // bytes that an entry takes at least, however little is in it

	// What is kept takes so much memory when it is decoded, in bytes: a map for
	// each object, and some for each value. Of small objects that is fifty times
	// the text.
	maxDecoded = 1 << 20
	objectSize = 256
	valueSize  = 48
)

const itemsField = "items"

var (
	// errTooLarge is what becomes of a page that holds more: ask for fewer.
	errTooLarge = errors.New("the answer is too large")
	errNotJSON  = errors.New("the answer is not JSON")
)

// filter reads JSON, one value after another, and lets some fields of them
// through. What it skips takes no memory, and what it keeps of an object is
// small, whatever the object holds. The first error ends it: what is read after that
// is 0.
type filter struct {
	in   *bufio.Reader
	keep fields
	out  bytes.Buffer // what was kept of the newest value and is not read yet
	left int          // bytes that may be read of this value
	room int          // bytes that may be kept of this object
	size int          // bytes that what is kept of this value takes when decoded
	err  error
}

func newFilter(in io.Reader, keep fields) *filter {
	return &filter{in: bufio.NewReaderSize(in, 16<<10), keep: keep}
}

// Read implements io.Reader.
func (f *filter) Read(p []byte) (int, error) {
	for f.out.Len() == 0 {
		if f.err == nil {
			f.next()
		}
		if f.err != nil {
			return 0, f.err
		}
	}
	return f.out.Read(p)
}

// next takes the next value into out; the error is io.EOF when there is none.
func (f *filter) next() {
	f.left, f.room, f.size = maxRead, maxOfOne, 0
	f.out.Reset()
	b := f.token()
	if f.err != nil {
		return
	}
	f.value(b, f.keep, false)
	f.out.WriteByte('\n')
	if errors.Is(f.err, io.EOF) {
		f.err = io.ErrUnexpectedEOF
	}
	if f.err != nil {
		f.out.Reset()
	}
}

func (f *filter) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// byte returns the next one; 0 after an error.
func (f *filter) byte() byte {
	if f.left--; f.left < 0 {
		f.fail(errTooLarge)
	}
	if f.err != nil {
		return 0
	}
	b, err := f.in.ReadByte()
	if err != nil {
		f.err = err
	}
	return b
}

// token returns the first byte of what comes next.
func (f *filter) token() byte {
	b := f.byte()
	for b == ' ' || b == '\n' || b == '\t' || b == '\r' {
		b = f.byte()
	}
	return b
}

// value keeps what begins with b, as far as it is wanted.
func (f *filter) value(b byte, keep fields, page bool) {
	f.size += valueSize
	if b == '{' {
		f.size += objectSize
	}
	if f.out.Len() > maxKept || f.out.Len()+f.size > maxDecoded {
		f.fail(errTooLarge)
	}
	switch b {
	case '{':
		f.object(keep)
	case '[':
		f.list(keep, page)
	case '"':
		f.text(min(maxString, max(f.room, minString)))
	default:
		f.scalar(b)
	}
}

func (f *filter) object(keep fields) {
	f.out.WriteByte('{')
	separator := ""
	for f.err == nil {
		switch f.token() {
		case '}':
			f.out.WriteByte('}')
			return
		case ',':
		case '"':
			name, whole := f.name()
			b := f.token()
			of, wanted := keep[name]
			if !wanted && f.room > 0 && whole {
				if of, wanted = keep[anyField]; wanted {
					f.room -= len(name) + EntryCost
				}
			}
			if !wanted {
				f.skip(b)
				continue
			}
			f.out.WriteString(separator + `"` + name + `":`)
			separator = ","
			f.value(b, of, name == itemsField)
		default:
			f.fail(errNotJSON)
		}
	}
}

// name reads a field's name, as JSON writes it, and the colon. One that is not whole is too
// long to be wanted.
func (f *filter) name() (name string, whole bool) {
	from, room := f.out.Len(), f.room
	whole = f.text(maxName)
	name = string(f.out.Bytes()[from+1 : f.out.Len()-1])
	f.out.Truncate(from)
	f.room = room
	if f.token() != ':' {
		f.fail(errNotJSON)
	}
	return name, whole
}

// list keeps the entries of which there is anything to keep: all of a page, and
// the first of a list in an object. A list in a list is not kept.
func (f *filter) list(keep fields, page bool) {
	f.out.WriteByte('[')
	for kept := 0; f.err == nil; {
		b := f.token()
		if page { // each is an object of its own; more comes after the last
			f.room = maxOfOne
		}
		switch {
		case b == ']':
			f.out.WriteByte(']')
			return
		case b == ',':
			continue
		case b == '[' || !page && (kept == maxList || f.room <= 0):
			f.skip(b)
			continue
		}
		before, size := f.out.Len(), f.size
		if kept > 0 {
			f.out.WriteByte(',')
		}
		from := f.out.Len()
		f.value(b, keep, false)
		if string(f.out.Bytes()[from:]) == "{}" {
			f.out.Truncate(before)
			f.size = size
			continue
		}
		kept++
		f.room -= EntryCost
	}
}
