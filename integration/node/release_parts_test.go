package node

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/macho"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	releaseName  = "vault-unseal-sidecar-" + releaseTag
	releaseImage = "ghcr.io/alybadawy/vault-unseal-sidecar"
)

var architectures = []string{"amd64", "arm64"}

// builtRelease is a release and what is in it.
type builtRelease struct {
	builder releaseBuilder
	dir     string
	files   map[string][]byte
}

// verifySignature checks that SHA256SUMS is signed with a key of the signers.
func (r builtRelease) verifySignature(t *testing.T, key string) error {
	t.Helper()
	public, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	signers := filepath.Join(t.TempDir(), "allowed_signers")
	require.NoError(t, os.WriteFile(signers, append([]byte("release "), public...), 0o644))
	_, err = r.builder.tryRun(r.dir, "sh", "-c", "ssh-keygen -Y verify -f "+signers+" -I release -n vault-unseal-sidecar -s SHA256SUMS.sig <SHA256SUMS")
	return err
}

func (r builtRelease) assertFiles(t *testing.T) {
	want := []string{
		releaseName + ".oci.tar", releaseName + "-kustomize.tar", "manifests.yaml", "homelab.yaml", "helm-values.yaml",
		"provenance.json", "SHA256SUMS", "SHA256SUMS.sig",
	}
	for _, arch := range architectures {
		linux := releaseName + "-linux-" + arch
		want = append(want, linux, linux+".oci.tar", linux+".spdx.json", releaseName+"-darwin-"+arch)
	}
	assert.ElementsMatch(t, want, slices.Collect(maps.Keys(r.files)))
}

// They are of the same source, version and Go as those for Linux.
func (r builtRelease) assertMachO(t *testing.T) {
	cpus := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}
	require.Len(t, cpus, len(architectures))
	for arch, cpu := range cpus {
		name := releaseName + "-darwin-" + arch
		require.Contains(t, r.files, name)
		file, err := macho.NewFile(bytes.NewReader(r.files[name]))
		require.NoError(t, err, name)
		assert.Equal(t, macho.TypeExec, file.Type)
		assert.Equal(t, cpu, file.Cpu, name)
		info, err := buildinfo.Read(bytes.NewReader(r.files[name]))
		require.NoError(t, err)
		linux, err := buildinfo.Read(bytes.NewReader(r.files[releaseName+"-linux-"+arch]))
		require.NoError(t, err)
		assert.Equal(t, linux.GoVersion, info.GoVersion)
		assert.Subset(t, linux.Deps, info.Deps, "of no other modules")
		assert.Contains(t, string(r.files[name]), releaseTag)
		assert.Contains(t, string(r.files[name]), r.commit())
		stat, err := os.Stat(filepath.Join(r.dir, name))
		require.NoError(t, err)
		assert.NotZero(t, stat.Mode()&0o111, "%s can be executed", name)
	}
}

// The README's commands.
func (r builtRelease) assertVerifiableOffline(t *testing.T) {
	r.builder.mustRun(r.dir, "sha256sum", "--check", "--strict", "SHA256SUMS")
	var named []string
	for line := range strings.Lines(string(r.files["SHA256SUMS"])) {
		named = append(named, strings.TrimSpace(line[64:]))
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(r.files)), append(named, "SHA256SUMS", "SHA256SUMS.sig"))

	assert.NoError(t, r.verifySignature(t, r.builder.key))
	otherKey := filepath.Join(t.TempDir(), "other")
	r.builder.mustRun(r.dir, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", otherKey)
	assert.Error(t, r.verifySignature(t, otherKey), "signed with another key")

	binary := releaseName + "-linux-amd64"
	out := r.builder.mustRun(r.dir, "./"+binary, "version")
	assert.Contains(t, out, "vault-unseal-sidecar "+releaseTag+" (commit "+r.commit()+", ")
	assert.Contains(t, out, "\nsha256 "+sha256Hex(r.files[binary])+"\n", "what the binary says of itself")
}

func (r builtRelease) commit() string {
	return strings.TrimSpace(r.builder.mustRun(filepath.Join(r.builder.dir, "repo"), "git", "rev-parse", "HEAD"))
}

func (r builtRelease) assertChangeDetected(t *testing.T) {
	for name, text := range r.files {
		path := filepath.Join(r.dir, name)
		changed := bytes.Clone(text)
		changed[len(changed)/2] ^= 1
		require.NoError(t, os.WriteFile(path, changed, 0o644))
		out, err := r.builder.tryRun(r.dir, "sha256sum", "--check", "--strict", "SHA256SUMS")
		switch name {
		case "SHA256SUMS", "SHA256SUMS.sig":
			assert.Error(t, r.verifySignature(t, r.builder.key), "%s was changed", name)
		default:
			assert.Error(t, err)
			assert.Contains(t, out, name+": FAILED\n")
		}
		require.NoError(t, os.WriteFile(path, text, 0o644))
	}
	assert.NoError(t, r.verifySignature(t, r.builder.key), "with all put back")
}

// index is an OCI index, or a manifest with its layers.
type index struct {
	Manifests, Layers []struct {
		MediaType, Digest string
		Size              int
		Platform          struct{ Architecture, OS string }
	}
}

// readImage reads the archive of an image: its blobs, and the digest of the whole.
func (r builtRelease) readImage(t *testing.T, archive string) (blobs map[string][]byte, digest string) {
	t.Helper()
	require.Contains(t, r.files, archive)
	blobs = map[string][]byte{}
	var top index
	for name, text := range unpack(t, r.files[archive]) {
		if of, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			assert.Equal(t, of, sha256Hex(text), "a blob is called by its sum")
			blobs["sha256:"+of] = text
		} else if name == "index.json" {
			decode(t, text, &top)
		}
	}
	require.Len(t, top.Manifests, 1)
	digest = top.Manifests[0].Digest
	require.Contains(t, blobs, digest)
	assert.Equal(t, len(blobs[digest]), top.Manifests[0].Size)
	return blobs, digest
}

// One image of both architectures, each with the binary that is beside it.
func (r builtRelease) assertImages(t *testing.T) {
	blobs, digest := r.readImage(t, releaseName+".oci.tar")
	var all index
	decode(t, blobs[digest], &all)
	require.Len(t, all.Manifests, len(architectures))
	for i, arch := range architectures {
		one := all.Manifests[i]
		assert.Equal(t, "linux/"+arch, one.Platform.OS+"/"+one.Platform.Architecture)
		_, alone := r.readImage(t, releaseName+"-linux-"+arch+".oci.tar")
		assert.Equal(t, one.Digest, alone, "the image of %s alone is the same", arch)
		var image index
		decode(t, blobs[one.Digest], &image)
		inside := map[string][]byte{}
		for _, layer := range image.Layers {
			unzipped, err := gzip.NewReader(bytes.NewReader(blobs[layer.Digest]))
			require.NoError(t, err)
			text, err := io.ReadAll(unzipped)
			require.NoError(t, err)
			maps.Copy(inside, unpack(t, text))
		}
		assert.Equal(t, sha256Hex(r.files[releaseName+"-linux-"+arch]), sha256Hex(inside["vault-unseal-sidecar"]), "the binary in the image of %s", arch)
	}
}

func (r builtRelease) assertProvenance(t *testing.T) {
	type resource struct {
		Name, URI string
		Digest    map[string]string
	}
	var statement struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []resource
		Predicate     struct {
			BuildDefinition struct {
				ExternalParameters   map[string]string
				ResolvedDependencies []resource
			}
			RunDetails struct {
				Builder struct{ Version map[string]string }
			}
		}
	}
	decode(t, r.files["provenance.json"], &statement)
	assert.Equal(t, "https://in-toto.io/Statement/v1", statement.Type)
	assert.Equal(t, "https://slsa.dev/provenance/v1", statement.PredicateType)
	_, digest := r.readImage(t, releaseName+".oci.tar")
	want := []resource{{releaseImage, releaseImage, map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}}
	for name, text := range r.files {
		if name != "provenance.json" && name != "SHA256SUMS" && name != "SHA256SUMS.sig" {
			want = append(want, resource{name, "", map[string]string{"sha256": sha256Hex(text)}})
		}
	}
	assert.ElementsMatch(t, want, statement.Subject)
	definition := statement.Predicate.BuildDefinition
	assert.Equal(t, "refs/tags/"+releaseTag, definition.ExternalParameters["ref"])
	assert.Equal(t, r.builder.flags, definition.ExternalParameters["imageFlags"])
	require.NotEmpty(t, definition.ResolvedDependencies)
	assert.Equal(t, r.commit(), definition.ResolvedDependencies[0].Digest["gitCommit"])
	assert.Contains(t, statement.Predicate.RunDetails.Builder.Version["image"], "buildah version ")
	assert.NotContains(t, string(r.files["provenance.json"]), r.builder.dir, "where it was made")
}

// Each lists the modules that are in the binary, and no other.
func (r builtRelease) assertSBOMs(t *testing.T) {
	for _, arch := range architectures {
		binary := releaseName + "-linux-" + arch
		info, err := buildinfo.Read(bytes.NewReader(r.files[binary]))
		require.NoError(t, err)
		want := []string{"pkg:golang/" + info.Main.Path + "@" + releaseTag, "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, module := range info.Deps {
			want = append(want, "pkg:golang/"+module.Path+"@"+url.QueryEscape(module.Version))
		}
		require.Greater(t, len(want), 10)
		var sbom struct {
			SpdxVersion string
			Packages    []struct {
				SPDXID       string
				ExternalRefs []struct{ ReferenceLocator string }
			}
			Files []struct {
				FileName  string
				Checksums []struct{ Algorithm, ChecksumValue string }
			}
			Relationships []struct{ SpdxElementId, RelationshipType, RelatedSpdxElement string }
		}
		decode(t, r.files[binary+".spdx.json"], &sbom)
		assert.Equal(t, "SPDX-2.3", sbom.SpdxVersion)
		var got []string
		ids := map[string]bool{}
		for _, p := range sbom.Packages {
			require.Len(t, p.ExternalRefs, 1)
			if locator := p.ExternalRefs[0].ReferenceLocator; strings.HasPrefix(locator, "pkg:golang/") {
				got = append(got, locator)
			}
			assert.False(t, ids[p.SPDXID], "%s is there twice", p.SPDXID)
			ids[p.SPDXID] = true
		}
		assert.ElementsMatch(t, want, got)
		for _, each := range sbom.Relationships {
			delete(ids, each.RelatedSpdxElement)
		}
		assert.Empty(t, ids, "packages that nothing leads to")
		require.Len(t, sbom.Files, 2)
		assert.Equal(t, "./vault-unseal-sidecar", sbom.Files[1].FileName)
		require.Len(t, sbom.Files[1].Checksums, 2)
		assert.Equal(t, sha256Hex(r.files[binary]), sbom.Files[1].Checksums[1].ChecksumValue)
	}
}

// All of them name the image by the digest of the whole, and by no tag; and
// what is rendered is what one can render.
func (r builtRelease) assertManifests(t *testing.T) {
	_, digest := r.readImage(t, releaseName+".oci.tar")
	ours := regexp.MustCompile(`image: *\S*vault-unseal-sidecar\S*`)
	sources := unpack(t, r.files[releaseName+"-kustomize.tar"])
	pinned := map[string][]byte{"homelab.yaml": r.files["homelab.yaml"], "helm-values.yaml": r.files["helm-values.yaml"]}
	for name, text := range sources {
		if ours.Match(text) {
			pinned[name] = text
		}
	}
	require.Contains(t, pinned, "patches/pod/pod.yaml")
	for name, text := range pinned {
		found := ours.FindAllString(string(text), -1)
		assert.Equal(t, []string{"image: " + releaseImage + "@" + digest}, found, name)
	}
	assert.NotRegexp(t, ours, string(r.files["manifests.yaml"]), "the rights have no image")

	dir := t.TempDir()
	for name, text := range sources {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	kubectl := filepath.Join(r.builder.root, "bin/servers/kubectl")
	for folder, rendered := range map[string]string{"manifests": "manifests.yaml", "manifests/homelab": "homelab.yaml"} {
		assert.Equal(t, string(r.files[rendered]), r.builder.mustRun(dir, kubectl, "kustomize", folder))
	}
}
