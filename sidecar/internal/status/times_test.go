package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestShort_FormatsDurations(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "<1ms", 0.0004: "<1ms", 0.052: "52ms", 0.9996: "1s", 1.2345: "1.23s", 9.999: "10s", 41.23: "41.2s", 59.94: "59.9s",
		60: "1m00s", 192.9: "3m12s", 3600: "1h00m", 86399: "23h59m", 2*86400 - 1: "47h59m", 2 * 86400: "2 days", 3.9 * 86400: "3 days",
	} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) { assert.Equal(t, want, Short(seconds)) })
	}
	assert.Equal(t, "0s", span(-1), "the clock was set back")
	assert.Equal(t, "41s", span(41.9))
	for _, format := range []func(float64) string{Short, span} { // whoever has the port may say so
		assert.Equal(t, "53375 days", format(1e300), "as long as can be told")
	}
}

func TestClock_ShowsTheDateOfAnotherDay(t *testing.T) {
	now := time.Date(2030, 2, 3, 1, 14, 0, 0, time.UTC)
	zone := time.FixedZone("zone", -7*3600)
	assert.Equal(t, "01:14:00Z", clock(now.In(zone), now))
	assert.Equal(t, "2030-02-02 23:59:59Z", clock(time.Date(2030, 2, 2, 23, 59, 59, 0, time.UTC), now))
	assert.Equal(t, "2030-02-03 01:14:00Z", fmt.Sprint(DateTime(now.In(zone))))
}
