package eso

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFairQueue_AlternatesBetweenNamespaces(t *testing.T) {
	q := &fairQueue{waiting: map[string][]StoreName{}}
	for _, s := range []StoreName{{"a", "1"}, {"a", "2"}, {"a", "3"}, {"b", "1"}, {"", "1"}, {"", "2"}, resyncKey} {
		q.Push(s)
	}
	assert.Equal(t, 7, q.Len())
	var order []StoreName
	for q.Len() > 0 {
		order = append(order, q.Pop())
	}
	assert.Equal(t, []StoreName{resyncKey, {"", "1"}, {"a", "1"}, {"", "2"}, {"b", "1"}, {"a", "2"}, {"a", "3"}}, order)
	assert.Empty(t, q.waiting, "namespaces come and go")
}
