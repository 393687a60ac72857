package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDurations(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "<1ms", 0.0004: "<1ms", 0.052: "52ms", 0.9996: "1s", 1.2345: "1.23s", 9.999: "10s", 41.23: "41.2s", 59.94: "59.9s",
		60: "1m00s", 192.9: "3m12s", 3600: "1h00m", 86399: "23h59m", 2*86400 - 1: "47h59m", 2 * 86400: "2 days", 3.9 * 86400: "3 days",
	} {
		assert.Equal(t, want, Short(seconds), "%v", seconds)
	}
	assert.Equal(t, "0s", span(-1), "the clock was set back")
	assert.Equal(t, "41s", span(41.9))
}

func TestTimesHaveADateWhenItIsNotTodays(t *testing.T) {
	night := time.Date(2030, 2, 3, 1, 14, 0, 0, time.UTC)
	elsewhere := time.FixedZone("elsewhere", -7*3600)
	assert.Equal(t, "01:14:00Z", clock(night.In(elsewhere), night))
	assert.Equal(t, "2030-02-02 23:59:59Z", clock(time.Date(2030, 2, 2, 23, 59, 59, 0, time.UTC), night))
	assert.Equal(t, "2030-02-03 01:14:00Z", fmt.Sprint(DateTime(night.In(elsewhere))))
}
