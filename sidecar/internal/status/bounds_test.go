package status

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBounded_KeepsStoresThatAreNotReady(t *testing.T) {
	var stores []Store
	for i := range 2 * maxStores {
		stores = append(stores, Store{Name: "store", Ready: i != 2*maxStores-1})
	}
	kept := ExternalSecrets{Status: "False", Stores: stores}.bounded().Stores
	require.Len(t, kept, maxStores)
	assert.False(t, kept[0].Ready)
	assert.True(t, stores[0].Ready, "the caller's own are left alone")
	long, short := strings.Repeat("é", maxText+1), strings.Repeat("é", maxText)+"..."
	assert.Equal(t, ExternalSecrets{
		Reason: short, Message: short, Left: []string{short}, Stores: []Store{{Name: short, Reason: short, Message: short}},
	}, ExternalSecrets{
		Reason: long, Message: long, Left: []string{long}, Stores: []Store{{Name: long, Reason: long, Message: long}},
	}.bounded())
	assert.Equal(t, strings.Repeat("é", maxText)+"...", bounded(strings.Repeat("é", maxText+1)))
	assert.Equal(t, strings.Repeat("é", maxText), bounded(strings.Repeat("é", maxText)))
}
