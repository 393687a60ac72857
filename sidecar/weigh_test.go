package main

import (
	"maps"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// weight is how many bytes there are of each type, as far as reflection comes: through
// pointers, fields, lists and maps, whether they are exported or not. A field that is added
// later is weighed too.
type weight map[string]int

// weigh weighs what can be reached from the roots. Nobody may change it meanwhile.
func weigh(roots ...any) weight {
	s := scale{weight{}, map[any]bool{}}
	for _, root := range roots {
		s.add(reflect.ValueOf(root))
	}
	return s.weight
}

type scale struct {
	weight
	seen map[any]bool
}

// isNew reports whether something was not weighed yet.
func (s scale) isNew(v reflect.Value, at uintptr, size int) bool {
	key := struct {
		at   uintptr
		of   reflect.Type
		size int
	}{at, v.Type(), size}
	was := s.seen[key]
	s.seen[key] = true
	return !was
}

func (s scale) add(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && s.isNew(v, v.Pointer(), 0) {
			s.weight[v.Type().String()] += int(v.Type().Elem().Size())
			s.add(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			s.add(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			s.add(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			s.add(v.Index(i))
		}
	case reflect.Slice:
		if v.IsNil() || !s.isNew(v, v.Pointer(), v.Cap()) {
			return
		}
		s.weight[v.Type().String()] += v.Len() * int(v.Type().Elem().Size())
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				s.add(v.Index(i))
			}
		}
	case reflect.Map:
		if v.IsNil() || !s.isNew(v, v.Pointer(), 0) {
			return
		}
		s.weight[v.Type().String()] += v.Len() * int(v.Type().Key().Size()+v.Type().Elem().Size())
		for entry := v.MapRange(); entry.Next(); {
			s.add(entry.Key())
			s.add(entry.Value())
		}
	case reflect.Chan:
		s.weight[v.Type().String()] += v.Len() * int(v.Type().Elem().Size())
	case reflect.String:
		s.weight["string"] += v.Len()
	}
}

// sample is what there is at one moment, by what it is of.
type sample map[string]int

// sampled returns a sample of the goroutines and of the heap.
func sampled() sample {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools kept
	runtime.ReadMemStats(&m)
	return sample{"goroutines": runtime.NumGoroutine(), "objects on the heap": int(m.HeapObjects)}
}

// weighed returns a sample of what can be reached from the roots.
func weighed(roots ...any) sample {
	s := sample{}
	for of, bytes := range weigh(roots...) {
		s["bytes of "+of] = bytes
	}
	return s
}

// growth is the most of each thing in the first part and later. It keeps no samples: they would
// be what grows.
type growth map[string]*struct{ first, later int }

// note takes a sample of the first part, or of a later one.
func (g growth) note(s sample, isFirst bool) {
	for of, n := range s {
		if g[of] == nil {
			g[of] = &struct{ first, later int }{}
		}
		if isFirst {
			g[of].first = max(g[of].first, n)
		} else {
			g[of].later = max(g[of].later, n)
		}
	}
}

// assertFlat fails where there was more later than ever in the first part: all that the program
// keeps has a bound, and the first part comes to it. slack is what more there may be of some.
func (g growth) assertFlat(t *testing.T, slack map[string]int) {
	t.Helper()
	require.NotEmpty(t, g)
	for _, of := range slices.Sorted(maps.Keys(g)) {
		assert.LessOrEqual(t, g[of].later, g[of].first+slack[of], "%s: it grows", of)
	}
}
