// Package sets has what Vault's event filters are kept in.
package sets

import (
	"maps"
	"slices"
)

type Set[T comparable] map[T]struct{}

func New[T comparable](items ...T) Set[T] {
	s := Set[T]{}
	s.Insert(items...)
	return s
}

func (s Set[T]) Insert(items ...T) {
	for _, item := range items {
		s[item] = struct{}{}
	}
}

func (s Set[T]) Delete(item T)     { delete(s, item) }
func (s Set[T]) Clear()            { clear(s) }
func (s Set[T]) Clone() Set[T]     { return maps.Clone(s) }
func (s Set[T]) UnsortedList() []T { return slices.Collect(maps.Keys(s)) }
func (s Set[T]) Difference(other Set[T]) Set[T] {
	without := s.Clone()
	for item := range other {
		delete(without, item)
	}
	return without
}

type String struct{ Set[string] }

func NewString(items ...string) String { return String{New(items...)} }

func (s String) List() []string { return slices.Sorted(maps.Keys(s.Set)) }
