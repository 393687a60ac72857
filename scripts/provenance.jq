# The in-toto statement of a release, with SLSA's predicate of version 1: these
# files and this image were made from this commit, with these programs. When it
# was run and by whom is left out: both would differ each time.
#
# Arguments: tag, commit, epoch, repo (its address), image, full (the
# image with its registry), digest (its index), flags (IMAGE_FLAGS), go, builder,
# kubectl, certificates (their SHA-256), and as input the lines of sha256sum, of
# which it takes what was there so far.

[inputs | split("  ") | {name: .[1], digest: {sha256: .[0]}}] as $files |
{
	_type: "https://in-toto.io/Statement/v1",
	subject: ($files + [{name: $image, uri: $full, digest: {sha256: ($digest | ltrimstr("sha256:"))}}]),
	predicateType: "https://slsa.dev/provenance/v1",
	predicate: {
		buildDefinition: {
			buildType: "\($repo)/blob/\($tag)/scripts/release",
			externalParameters: {repository: $repo, ref: "refs/tags/\($tag)", image: $image, imageFlags: $flags},
			internalParameters: {SOURCE_DATE_EPOCH: ($epoch | tonumber)},
			resolvedDependencies: [
				{uri: "git+\($repo)@refs/tags/\($tag)", digest: {gitCommit: $commit}},
				{uri: "pkg:golang/stdlib@\($go)", name: "the Go that built it"},
				{name: "etc/ssl/certs/ca-certificates.crt", digest: {sha256: $certificates}}
			]
		},
		runDetails: {
			builder: {id: "\($repo)/blob/\($tag)/Makefile", version: {image: $builder, kubectl: $kubectl}}
		}
	}
}
