package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxHang is how long storage hangs at most once the node is back.
const maxHang = 15 * time.Second

// One power cut after another, each right after Vault has taken a secret, and with storage
// that hangs for a random while. CUTS is how many, SEED repeats the times.
func TestPowerCuts_InARowLoseNothing(t *testing.T) {
	cuts, seed := envNumber(t, "CUTS", 3), envNumber(t, "SEED", time.Now().UnixNano())
	t.Logf("%d power cuts, seed %d", cuts, seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	n := theHomelab(t)

	var ready, synced []time.Duration
	var written []string
	for i := range cuts {
		value := fmt.Sprintf("cut-%d", i+1)
		n.asMaria("vault kv put secret/cuts/" + value + " value=" + value + " && vault kv put secret/example password=" + value)
		cut := time.Now()
		n.cutPower("hang")
		// It is due, and fails while Vault is away.
		n.kubectl("-n", "example", "annotate", "externalsecret", "example", "force-sync="+value, "--overwrite")
		hang := time.Duration(random.Int64N(int64(maxHang)))
		select {
		case <-n.ctx.Done():
		case <-time.After(hang): // the fault itself
		}
		n.setStorage("open")
		back := time.Now()
		n.awaitRecovery(cut)
		n.ready("vault-0")
		ready = append(ready, time.Since(back))
		n.appHas(value)
		synced = append(synced, time.Since(back))
		written = append(written, value)
		assert.Equal(t, written, strings.Fields(n.asMaria("for i in "+strings.Join(written, " ")+
			"; do vault kv get -field=value secret/cuts/$i; echo; done")), "what was written before each cut")
		t.Logf("%s: storage hung for %v; after it was back, the pod was Ready within %v, and the app had its secret within %v", value,
			hang.Round(time.Millisecond), ready[i].Round(time.Millisecond), synced[i].Round(time.Millisecond))
	}
	t.Logf("until the pod was Ready: %s", distribution(ready))
	t.Logf("until the app had its secret: %s", distribution(synced))
}

// envNumber reads a number from a variable of the environment.
func envNumber(t *testing.T, name string, byDefault int64) int64 {
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	number, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err, "%s", name)
	require.Positive(t, number, "%s", name)
	return number
}

// distribution says how long the shortest, the middle and the longest took, and nine of ten.
func distribution(all []time.Duration) string {
	all = slices.Sorted(slices.Values(all))
	at := func(part float64) time.Duration {
		return all[int(part*float64(len(all)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%v at least, median %v, nine of ten %v, %v at most", at(0), at(0.5), at(0.9), at(1))
}
