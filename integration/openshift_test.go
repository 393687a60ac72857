package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// OpenShift gives a pod a uid of its namespace's range and the group 0, to which it gives
// what is mounted.
func TestSidecar_RunsAsAnyUIDOfGroup0(t *testing.T) {
	t.Parallel()
	start := func(sc *scenario) {
		require.NoError(sc, os.MkdirAll(sc.stateDir, 0o770))
		require.NoError(sc, filepath.WalkDir(sc.env.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink != 0 {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			mode := info.Mode().Perm()
			return os.Chmod(path, mode|mode>>3&0o070) // what is the owner's is the group's too
		}))
		binary := filepath.Join(sc.env.Dir, "sidecar") // its own place may be closed to others
		sc.startSidecar("sh", "-c", "cp -f \"$0\" "+binary+" && exec setpriv --reuid=1000680000 --regid=0 --clear-groups --inh-caps=-all "+binary+" \"$@\"")
	}
	run(t, setup{},
		phase{"vault is sealed", sequence(start, restartVaultAtOnce), []condition{serving(), sharesSent(1)}},
		phase{"an operator seals", sealVault, []condition{phaseIs("held")}},
		phase{"the sidecar restarts, and has kept its state", sequence(killSidecar, start), []condition{phaseIs("held"), sendsNothing()}},
	)
}
