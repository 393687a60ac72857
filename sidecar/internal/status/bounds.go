package status

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// What others wrote is bounded, for the memory's and the reader's sake.
const (
	maxStores = 25
	maxLeft   = 20
	maxText   = 400  // characters
	maxLine   = 2000 // of what the core says, which repeats an error
)

// bounded is e with its texts bounded; of very many stores it keeps those that are
// not ready. It shares nothing with e that could be changed later.
func (e ExternalSecrets) bounded() ExternalSecrets {
	e.Stores = slices.Clone(e.Stores)
	slices.SortStableFunc(e.Stores, func(a, b Store) int {
		rank := map[bool]int{false: 0, true: 1}
		return cmp.Compare(rank[a.Ready], rank[b.Ready])
	})
	e.Stores = e.Stores[:min(len(e.Stores), maxStores)]
	e.Left = slices.Clone(e.Left[:min(len(e.Left), maxLeft)])
	clean(reflect.ValueOf(&e).Elem(), maxText)
	return e
}

func line(text string) string { return safetext.Line(text, maxLine) }

// bounded is what somebody else wrote.
func bounded(text string) string { return safetext.Line(text, maxText) }
