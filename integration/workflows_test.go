package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// workflow is what this project looks at in a workflow of GitHub's.
type workflow struct {
	Permissions *map[string]string
	Concurrency map[string]any
	Jobs        map[string]struct {
		Permissions *map[string]string
		Timeout     int `json:"timeout-minutes"`
		Uses        string
		Container   struct{ Image string }
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

func readWorkflows(t *testing.T) (names []string, workflows map[string]workflow) {
	t.Helper()
	paths, err := filepath.Glob("../.github/workflows/*")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	workflows = map[string]workflow{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), path)
		names = append(names, filepath.Base(path))
		workflows[filepath.Base(path)] = w
	}
	return names, workflows
}

// A step runs what a test here runs, so that no workflow has a bug of its own.
func TestWorkflows_HoldNoLogic(t *testing.T) {
	t.Parallel()
	_, workflows := readWorkflows(t)
	var runs []string
	for _, w := range workflows {
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				if step.Run != "" {
					runs = append(runs, step.Run)
				}
			}
		}
	}
	assert.ElementsMatch(t, []string{
		"bash .ci/run",
		`scripts/release --tag "$GITHUB_REF_NAME"`, // node/TestRelease_IsReproducibleFromItsTag
		"scripts/publish image",                    // TestPublishImage_*
		"scripts/publish page",                     // TestPublishPage_*
	}, runs)
}

// No job has a right that it does not name, or runs for ever.
func TestWorkflows_JobsAreConfined(t *testing.T) {
	t.Parallel()
	names, workflows := readWorkflows(t)
	writes := map[string][]string{"image": {"id-token", "packages"}, "page": {"contents"}}
	for _, name := range names {
		w := workflows[name]
		require.NotNil(t, w.Permissions, "%s: permissions", name)
		assert.Empty(t, *w.Permissions, "%s: each job names its own", name)
		assert.NotEmpty(t, w.Concurrency["group"], "%s: concurrency", name)
		for id, job := range w.Jobs {
			require.NotNil(t, job.Permissions, "%s: permissions of %s", name, id)
			var may []string
			for right, kind := range *job.Permissions {
				if kind != "read" {
					may = append(may, right)
				}
			}
			assert.ElementsMatch(t, writes[id], may, "%s: what %s may write", name, id)
			if job.Uses == "" {
				assert.NotZero(t, job.Timeout, "%s: timeout-minutes of %s", name, id)
			}
			if job.Container.Image != "" {
				assert.Regexp(t, `:[\w.-]+@sha256:[0-9a-f]{64}$`, job.Container.Image, "%s: %s", name, id)
			}
		}
	}
}

// Each job, and what it runs of others, may make an artifact of any name, and nobody one of
// another's number.
func TestWorkflows_ArtifactsAreTakenByNumber(t *testing.T) {
	t.Parallel()
	_, workflows := readWorkflows(t)
	taken := 0
	for name, w := range workflows {
		for id, job := range w.Jobs {
			for _, step := range job.Steps {
				if strings.HasPrefix(step.Uses, "actions/download-artifact@") {
					taken++
					assert.Regexp(t, `^\$\{\{ needs\.\w+\.outputs\.artifact \}\}(,|$)`, step.With["artifact-ids"], "%s: %s", name, id)
					assert.NotContains(t, step.With, "name", "%s: %s", name, id)
				}
			}
		}
	}
	assert.Equal(t, 2, taken)
}

// A tag of an action can be moved, its commit cannot.
func TestWorkflows_ActionsArePinned(t *testing.T) {
	t.Parallel()
	names, _ := readWorkflows(t)
	uses := regexp.MustCompile(`(?m)^.*\buses:.*$`)
	pinned := regexp.MustCompile(`^ +(- )?uses: ([\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/[\w-]+\.yml)$`)
	of := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("../.github/workflows", name))
		require.NoError(t, err)
		for _, line := range uses.FindAllString(string(text), -1) {
			assert.Regexp(t, pinned, line, name)
			action, version, _ := strings.Cut(strings.TrimLeft(line, " -"), "@")
			if before, seen := of[action]; seen {
				assert.Equal(t, before, version, "%s in two versions", action)
			}
			of[action] = version
		}
	}
	assert.NotEmpty(t, of)
}

// What is pinned has to be kept up to date: each module, the actions, and the image.
func TestDependabot_CoversEveryModule(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../.github/dependabot.yml")
	require.NoError(t, err)
	var config struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	covered := map[string][]string{}
	for _, each := range config.Updates {
		dirs := each.Directories
		if each.Directory != "" {
			dirs = append(dirs, each.Directory)
		}
		covered[each.Ecosystem] = append(covered[each.Ecosystem], dirs...)
	}
	var modules []string
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "bin" || path == ".git" || d.Name() == "lean" || d.Name() == "without"): // what is in those is built with others
			return fs.SkipDir
		case d.Name() == "go.mod":
			modules = append(modules, filepath.Join("/", filepath.Dir(path)))
		}
		return nil
	}))
	assert.ElementsMatch(t, modules, covered["gomod"])
	assert.Equal(t, []string{"/"}, covered["github-actions"])
	assert.Equal(t, []string{"/"}, covered["docker"])
	dockerfile, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^FROM (--platform=\S+ )?docker\.io/library/golang:[\d.]+@sha256:[0-9a-f]{64} `, string(dockerfile), "Dependabot reads no ARG")
}
