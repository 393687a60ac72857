package browser

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMissingBrowserIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context())
	require.ErrorContains(t, err, "install Debian's package chromium")
}
