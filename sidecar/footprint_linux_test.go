package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// resident returns how much of our own binary's read-only pages is in memory,
// in KiB.
func resident(t *testing.T) (sum int) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	file, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer file.Close()
	ours := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if strings.Contains(fields[0], "-") {
			ours = len(fields) == 6 && fields[5] == exe && fields[1][1] == '-'
		}
		var size int
		if _, err := fmt.Sscanf(lines.Text(), "Rss: %d kB", &size); err == nil && ours {
			sum += size
		}
	}
	return sum
}

func TestReleaseStartupMemory_DropsResidentPages(t *testing.T) {
	before := resident(t)
	require.NoError(t, releaseStartupMemory())
	after := resident(t)
	assert.Less(t, after, before*3/4)
	assert.NotEmpty(t, imports(t), "and all still works")
}
