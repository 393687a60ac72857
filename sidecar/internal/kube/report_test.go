package kube

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

func TestWhatIsLeftIsToldWhenItChanges(t *testing.T) {
	var out bytes.Buffer
	n := newNurse(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &out})}, &ward{t: t}, &Kube{})
	n.phase, n.since = unseal.Active, time.Now()
	for _, row := range []struct {
		sentence string
		found    findings
		reason   string
		says     string // of the log; empty: nothing
	}{
		{"while it is woken nothing is told", findings{touched: 3, leftCount: 3}, "Recovering", ""},
		{"what is left in the end is", findings{touched: 3, leftCount: 2, left: []string{"a", "b"}, final: true}, "NotSynced", msgLeft},
		{"but once", findings{touched: 3, leftCount: 2, left: []string{"a", "b"}, final: true}, "NotSynced", ""},
		{"and when some of it is mended", findings{touched: 3, leftCount: 1, left: []string{"b"}, final: true}, "NotSynced", msgLeft},
		{"all is mended", findings{touched: 3, final: true}, "Recovered", msgRecovered},
		{"a store comes back, and with it something is left again", findings{touched: 1, leftCount: 1}, "Recovering", ""},
		{"it is", findings{touched: 1, leftCount: 1, left: []string{"b"}, final: true}, "NotSynced", msgLeft},
		{"another was never ours to wake, and is mended", findings{final: true}, "Ready", msgRecovered},
		{"all is well", findings{final: true}, "Ready", ""},
	} {
		out.Reset()
		row.found.at = time.Now()
		n.took(row.found)
		assert.Equal(t, row.reason, n.condition().Reason, row.sentence)
		if row.says == "" {
			assert.Empty(t, out.String(), row.sentence)
		} else {
			assert.Equal(t, 1, strings.Count(out.String(), row.says), "%s: %s", row.sentence, out.String())
		}
		var r Report
		n.fill(&r, n.condition())
		assert.Equal(t, row.found.leftCount, r.LeftCount, row.sentence)
	}
}
