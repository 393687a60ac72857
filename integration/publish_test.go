package integration

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A publisher is a repository with a release in it, and recorders in the place of
// what reaches the registry, Sigstore and GitHub.
type publisher struct {
	*testing.T
	dir, tools, digest string
	git                func(...string)
}

const (
	publishedImage = "ghcr.io/somebody/vault-unseal-sidecar"
	amd64Digest    = "sha256:aaaa"
	arm64Digest    = "sha256:bbbb"
)

// recorder notes its name and arguments, and what it was given to read.
const recorder = `#!/bin/bash
printf '%s' "$(basename "$0")" >>DIR/calls; printf ' %s' "$@" >>DIR/calls; echo >>DIR/calls
while (($#)); do
	case $1 in
	--password-stdin) cat >DIR/stdin; echo "$REGISTRY_AUTH_FILE $DOCKER_CONFIG/config.json" >DIR/login ;;
	--predicate | --notes-file) cp "$2" DIR/; [[ $1 == --predicate ]] || cp "$2" DIR/notes ;;
	--bundle) echo signature >"$2" ;;
	--raw) cat DIR/registry 2>/dev/null || { cat DIR/registry-says >&2; exit 1; } ;;
	oci-archive:*) cat DIR/pushed >DIR/registry ;;
	esac
	shift
done
`

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{T: t, tools: t.TempDir()}
	p.dir, p.git = newReleaseRepo(t)
	p.git("tag", "v1.0.0")
	for _, name := range []string{"skopeo", "cosign", "gh"} {
		text := strings.ReplaceAll(recorder, "DIR", p.tools)
		require.NoError(t, os.WriteFile(filepath.Join(p.tools, name), []byte(text), 0o755))
	}
	p.put(filepath.Join(p.tools, "registry-says"), "manifest unknown")
	p.put(filepath.Join(p.tools, "pushed"), "index")
	p.digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("index")))
	p.release("v1.0.0")
	return p
}

func (p *publisher) put(path, text string) {
	p.Helper()
	require.NoError(p, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(p, os.WriteFile(path, []byte(text), 0o644))
}

// release puts one into bin/release: of what publish reads, the shape.
func (p *publisher) release(tag string) {
	p.Helper()
	name := filepath.Join(p.dir, "bin/release/vault-unseal-sidecar-"+tag)
	p.put(name+".oci.tar", "image")
	for arch, digest := range map[string]string{"amd64": amd64Digest, "arm64": arm64Digest} {
		p.put(name+"-linux-"+arch+".spdx.json", fmt.Sprintf(`{"packages": [{"primaryPackagePurpose": "CONTAINER",
			"checksums": [{"checksumValue": %q}]}, {"primaryPackagePurpose": "LIBRARY"}]}`, strings.TrimPrefix(digest, "sha256:")))
	}
	p.put(filepath.Join(p.dir, "bin/release/provenance.json"), fmt.Sprintf(`{"subject": [{"name": "a file", "digest": {"sha256": "1"}},
		{"name": %q, "uri": "somewhere", "digest": {"sha256": %q}}], "predicate": {"buildDefinition": {"externalParameters": {"ref": "refs/tags/%s", "image": %q}}}}`,
		publishedImage, strings.TrimPrefix(p.digest, "sha256:"), tag, publishedImage))
	p.sum()
}

func (p *publisher) sum() {
	p.Helper()
	cmd := exec.Command("sh", "-c", "sha256sum -- *")
	cmd.Dir = filepath.Join(p.dir, "bin/release")
	out, err := cmd.Output()
	require.NoError(p, err)
	p.put(filepath.Join(cmd.Dir, "SHA256SUMS"), string(out))
}

func (p *publisher) run(env []string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(p.dir, "scripts/publish"), args...)
	cmd.Env = append(append(os.Environ(), "PATH="+p.tools+":"+os.Getenv("PATH"), "IMAGE=ghcr.io/SomeBody/vault-unseal-sidecar", "GITHUB_REF_NAME="), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// noted reads a file of the recorders.
func (p *publisher) noted(name string) string {
	text, err := os.ReadFile(filepath.Join(p.tools, name))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(p, err)
	return string(text)
}

func (p *publisher) calls() []string {
	return strings.Split(strings.TrimSuffix(p.noted("calls"), "\n"), "\n")
}

func TestPublishImage_PushesThenSigns(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	out, err := p.run([]string{"REGISTRY_USER=robot", "REGISTRY_TOKEN=token"}, "image")
	require.NoError(t, err, out)
	name := p.dir + "/bin/release/vault-unseal-sidecar-v1.0.0"
	calls := p.calls()
	require.Len(t, calls, 9, strings.Join(calls, "\n"))
	assert.Equal(t, []string{
		"skopeo login --username robot --password-stdin ghcr.io",
		"skopeo inspect --raw docker://" + publishedImage + ":v1.0.0",
		"skopeo copy --quiet --all --preserve-digests oci-archive:" + name + ".oci.tar docker://" + publishedImage + ":v1.0.0",
		"skopeo inspect --raw docker://" + publishedImage + ":v1.0.0",
		"cosign sign --yes --recursive " + publishedImage + "@" + p.digest,
		"cosign attest --yes --type spdxjson --predicate " + name + "-linux-amd64.spdx.json " + publishedImage + "@" + amd64Digest,
		"cosign attest --yes --type spdxjson --predicate " + name + "-linux-arm64.spdx.json " + publishedImage + "@" + arm64Digest,
	}, calls[:7])
	assert.Regexp(t, `^cosign attest --yes --type slsaprovenance1 --predicate \S+/predicate\.json `+publishedImage+"@"+p.digest+"$", calls[7])
	assert.Equal(t, "cosign sign-blob --yes --bundle "+p.dir+"/bin/release/SHA256SUMS.sigstore.json "+p.dir+"/bin/release/SHA256SUMS", calls[8])
	assert.JSONEq(t, `{"buildDefinition": {"externalParameters": {"ref": "refs/tags/v1.0.0", "image": "`+publishedImage+`"}}}`, p.noted("predicate.json"))

	assert.Equal(t, "token", p.noted("stdin"), "the token is no argument")
	assert.NotContains(t, out, "token")
	files := strings.Fields(p.noted("login"))
	require.Len(t, files, 2)
	assert.Equal(t, files[0], files[1], "skopeo and cosign read the same login")
	assert.NoFileExists(t, files[0], "the login is gone with the script")
}

// The name of an image of Docker's begins with a person's, which is no registry.
func TestPublishImage_LogsInAtTheRegistry(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	provenance := filepath.Join(p.dir, "bin/release/provenance.json")
	text, err := os.ReadFile(provenance)
	require.NoError(t, err)
	p.put(provenance, strings.ReplaceAll(string(text), publishedImage, strings.TrimPrefix(publishedImage, "ghcr.io/")))
	require.NoError(t, os.Remove(p.dir+"/bin/release/SHA256SUMS"))
	p.sum()
	out, err := p.run([]string{"IMAGE=docker.io/SomeBody/vault-unseal-sidecar", "REGISTRY_USER=robot", "REGISTRY_TOKEN=token"}, "image")
	require.NoError(t, err, out)
	assert.Equal(t, "skopeo login --username robot --password-stdin docker.io", p.calls()[0])
}

// A job of the workflow that failed half-way is run again.
func TestPublishImage_CanBeRunAgain(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	for range 2 {
		out, err := p.run(nil, "image")
		require.NoError(t, err, out)
	}
	assert.NotContains(t, p.noted("calls"), "login", "without a token there is one already")
}

// What registries say of an image that they do not have.
func TestPublishImage_CanBeTheFirst(t *testing.T) {
	t.Parallel()
	for _, says := range []string{"manifest unknown", "name unknown: repository name not known", "requested access to the resource is denied"} {
		p := newPublisher(t)
		p.put(p.tools+"/registry-says", says)
		out, err := p.run(nil, "image")
		require.NoError(t, err, "%s: %s", says, out)
	}
}

func TestPublish_RefusesBadPreconditions(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		do   func(p *publisher)
		env  []string
		part string
		says string
		code int
	}{
		"nothing":            {func(*publisher) {}, nil, "", "say what is to be published: image or page", 2},
		"an unknown part":    {func(*publisher) {}, nil, "chart", "no such part or option: chart", 2},
		"without a release":  {func(p *publisher) { require.NoError(p, os.RemoveAll(p.dir+"/bin/release")) }, nil, "image", "there is no release in", 1},
		"of a changed file":  {func(p *publisher) { p.put(p.dir+"/bin/release/vault-unseal-sidecar-v1.0.0.oci.tar", "other") }, nil, "image", "vault-unseal-sidecar-v1.0.0.oci.tar: FAILED", 1},
		"a page of one, too": {func(p *publisher) { p.put(p.dir+"/bin/release/vault-unseal-sidecar-v1.0.0.oci.tar", "other") }, nil, "page", "vault-unseal-sidecar-v1.0.0.oci.tar: FAILED", 1},
		"over another image": {func(p *publisher) { p.put(p.tools+"/registry", "other") }, nil, "image", publishedImage + ":v1.0.0 is already published with other content, sha256:", 1},
		"when the registry is away": {func(p *publisher) { p.put(p.tools+"/registry-says", "connection refused") }, nil, "image",
			publishedImage + ":v1.0.0 cannot be looked up: connection refused", 1},
		"when it keeps something else": {func(p *publisher) { p.put(p.tools+"/pushed", "half") }, nil, "image", "and the release is sha256:", 1},
		"a token without a user":       {func(*publisher) {}, []string{"REGISTRY_TOKEN=t", "REGISTRY_USER="}, "image", "REGISTRY_TOKEN is set and REGISTRY_USER is not", 1},
		"of another image": {func(*publisher) {}, []string{"IMAGE=", "REGISTRY_USER=robot", "REGISTRY_TOKEN=t"}, "image",
			"is of the image " + publishedImage + ", and ghcr.io/alybadawy/vault-unseal-sidecar is to be published (IMAGE)", 1},
		"of another version": {func(*publisher) {}, []string{"GITHUB_REF_NAME=v1.0.1"}, "image", "is of v1.0.0, and v1.0.1 is to be published", 1},
		"what scripts/release did not make": {func(p *publisher) { p.put(p.dir+"/bin/release/install.sh", "other") }, nil, "page",
			"install.sh is not in SHA256SUMS: scripts/release did not make it", 1},
		"a page before the image": {func(*publisher) {}, nil, "page", "SHA256SUMS is not signed: run scripts/publish image first", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublisher(t)
			row.do(p)
			var args []string
			if row.part != "" {
				args = []string{row.part}
			}
			out, err := p.run(row.env, args...)
			require.Error(t, err, out)
			assert.Equal(t, row.code, err.(*exec.ExitError).ExitCode())
			assert.Contains(t, out, row.says)
			assert.NotContains(t, p.noted("calls"), "cosign", "nothing is signed")
			assert.NotContains(t, p.noted("calls"), "skopeo login", "no token is sent")
			assert.NotContains(t, p.noted("calls"), "gh ")
		})
	}
}

func TestPublishPage_HoldsEveryFile(t *testing.T) {
	t.Parallel()
	for tag, kind := range map[string]string{"v1.0.0": "", "v1.1.0-rc.1": "--prerelease "} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			p := newPublisher(t)
			if tag != "v1.0.0" {
				require.NoError(t, os.RemoveAll(p.dir+"/bin/release"))
				p.release(tag)
				p.git("commit", "--quiet", "--allow-empty", "--message", "eso: wait *once*")
				p.git("tag", tag)
			}
			p.put(p.dir+"/bin/release/SHA256SUMS.sigstore.json", "signature")
			out, err := p.run(nil, "page")
			require.NoError(t, err, out)
			entries, err := os.ReadDir(p.dir + "/bin/release")
			require.NoError(t, err)
			require.Len(t, entries, 6)
			var files string
			for _, e := range entries {
				files += " " + p.dir + "/bin/release/" + e.Name()
			}
			calls := p.calls()
			require.Len(t, calls, 1)
			before, after, found := strings.Cut(calls[0], "/notes ")
			require.True(t, found, calls[0])
			assert.Regexp(t, `^gh release create `+tag+` --verify-tag --title `+tag+` --notes-file /\S+$`, before)
			assert.Equal(t, kind, strings.TrimSuffix(after, strings.TrimSpace(files)))
			assert.Contains(t, p.noted("notes"), "The image: `"+publishedImage+":"+tag+"@"+p.digest+"`\n\n## Changes")
			if tag != "v1.0.0" {
				assert.Contains(t, p.noted("notes"), `- eso: wait \*once\*`)
			}
		})
	}
}

func TestPublish_DryRunCallsNothing(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	for _, part := range []string{"image", "page"} {
		out, err := p.run(nil, part, "--dry-run")
		require.NoError(t, err, out)
		assert.Contains(t, out, "would publish the "+part+" of v1.0.0, "+publishedImage+"@"+p.digest)
	}
	assert.Empty(t, p.noted("calls"))
}
