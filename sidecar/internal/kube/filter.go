package kube

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"strings"
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
// small, whatever the object holds.
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
			f.err = f.next()
		}
		if f.err != nil {
			return 0, f.err
		}
	}
	return f.out.Read(p)
}

// next takes the next value into out; io.EOF when there is none.
func (f *filter) next() error {
	f.left, f.room, f.size = maxRead, maxOfOne, 0
	f.out.Reset()
	b, err := f.token()
	if errors.Is(err, io.EOF) {
		return err
	}
	if err == nil {
		err = f.value(b, f.keep, false)
	}
	if err == nil {
		return f.out.WriteByte('\n')
	}
	f.out.Reset()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (f *filter) byte() (byte, error) {
	if f.left--; f.left < 0 {
		return 0, errTooLarge
	}
	return f.in.ReadByte()
}

// token returns the first byte of what comes next.
func (f *filter) token() (byte, error) {
	for {
		b, err := f.byte()
		if err != nil || strings.IndexByte(" \n\t\r", b) < 0 {
			return b, err
		}
	}
}

// value keeps what begins with b, as far as it is wanted.
func (f *filter) value(b byte, keep fields, page bool) error {
	f.size += valueSize
	if b == '{' {
		f.size += objectSize
	}
	if f.out.Len() > maxKept || f.out.Len()+f.size > maxDecoded {
		return errTooLarge
	}
	switch b {
	case '{':
		return f.object(keep)
	case '[':
		return f.list(keep, page)
	case '"':
		_, err := f.text(min(maxString, max(f.room, minString)))
		return err
	}
	return f.scalar(b)
}

func (f *filter) object(keep fields) error {
	f.out.WriteByte('{')
	for first := true; ; {
		b, err := f.token()
		switch {
		case err != nil:
			return err
		case b == '}':
			return f.out.WriteByte('}')
		case b == ',':
			continue
		case b != '"':
			return errNotJSON
		}
		name, err := f.name()
		if err != nil {
			return err
		}
		if b, err = f.token(); err != nil {
			return err
		}
		of, wanted := keep[name]
		if !wanted && f.room > 0 {
			if of, wanted = keep[anyField]; wanted {
				f.room -= len(name) + EntryCost
			}
		}
		if !wanted {
			if err := f.skip(b); err != nil {
				return err
			}
			continue
		}
		if !first {
			f.out.WriteByte(',')
		}
		first = false
		f.out.WriteString(`"` + name + `":`)
		if err := f.value(b, of, name == itemsField); err != nil {
			return err
		}
	}
}

// name reads a field's name, as JSON writes it, and the colon; "" stands for one
// that is too long to be wanted.
func (f *filter) name() (string, error) {
	from, room := f.out.Len(), f.room
	whole, err := f.text(maxName)
	name := string(f.out.Bytes()[from+1 : f.out.Len()-1])
	f.out.Truncate(from)
	f.room = room
	if err != nil {
		return "", err
	}
	if b, err := f.token(); err != nil || b != ':' {
		return "", cmp.Or(err, errNotJSON)
	}
	if !whole {
		return "", nil
	}
	return name, nil
}

// list keeps the entries of which there is anything to keep: all of a page, and
// the first of a list in an object. A list in a list is not kept.
func (f *filter) list(keep fields, page bool) error {
	f.out.WriteByte('[')
	for kept := 0; ; {
		b, err := f.token()
		if page { // each is an object of its own; more comes after the last
			f.room = maxOfOne
		}
		switch {
		case err != nil:
			return err
		case b == ']':
			return f.out.WriteByte(']')
		case b == ',':
			continue
		case b == '[' || !page && (kept == maxList || f.room <= 0):
			if err := f.skip(b); err != nil {
				return err
			}
			continue
		}
		before, size := f.out.Len(), f.size
		if kept > 0 {
			f.out.WriteByte(',')
		}
		from := f.out.Len()
		if err := f.value(b, keep, false); err != nil {
			return err
		}
		if string(f.out.Bytes()[from:]) == "{}" {
			f.out.Truncate(before)
			f.size = size
			continue
		}
		kept++
		f.room -= EntryCost
	}
}
