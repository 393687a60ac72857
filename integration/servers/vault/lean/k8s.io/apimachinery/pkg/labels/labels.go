// Package labels has the shape of selectors, which are left out.
package labels

type Set map[string]string

type Selector interface {
	Matches(Set) bool
}
