package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCertificates_WarnBeforeTheyExpire(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, row := range []struct {
		sentence string
		left     time.Duration
		level    Level
		text     string
	}{
		{"it lasts", 22 * day, OK, ""},
		{"it ends within three weeks", 20 * day, Warning, "runs out on 2026-12-18"},
		{"it ended", -day, Failure, "ran out on 2026-11-27"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			for _, c := range []Certificates{{Vault: now.Add(row.left)}, {Client: now.Add(row.left)}} {
				found := c.evaluate(now)
				if row.level == OK {
					assert.Empty(t, found)
					continue
				}
				require.Len(t, found, 1)
				assert.Equal(t, row.level, found[0].Level)
				assert.Contains(t, found[0].Text, row.text)
				assert.NotEmpty(t, found[0].Advice)
			}
		})
	}
	assert.Empty(t, Certificates{}.evaluate(now), "no TLS, no finding")
}
