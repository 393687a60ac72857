#!/usr/bin/env bash
# Builds the versions of kustomize that are in use into
# bin/servers/kustomize/VERSION/kustomize. The newest is in kubectl.
#
# Go's checksum database verifies each module.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(cd ../../../bin/servers && pwd -P)/kustomize

# version | of its module | of api, and of kyaml, where its go.mod replaces them
versions=(
	"5.0.4|v5.0.4-0.20230601165947-6ce0bf390ce3|v0.13.5-0.20230601165947-6ce0bf390ce3|v0.14.3-0.20230601165947-6ce0bf390ce3" # as in the kubectl of Kubernetes 1.28 to 1.30
	"5.4.3|v5.4.3||"
	"5.6.0|v5.6.0||"
)

say() { echo "kustomize: $*"; }

# build VERSION MODULE API KYAML
build() {
	local to=$out/$1 path=sigs.k8s.io/kustomize began=$SECONDS work
	if [[ -x $to/kustomize && -f $to/sum && $(<"$to/sum") == "$*" ]]; then
		say "$1: up to date"
		return
	fi
	work=$(mktemp -d)
	(
		cd "$work"
		go mod init kustomize
		go get "$path/kustomize/v5@$2" ${3:+"$path/api@$3" "$path/kyaml@$4"}
		CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o kustomize "$path/kustomize/v5"
	) 2>"$work/log" || {
		cat "$work/log" >&2
		say "$1: the build failed" >&2
		return 1
	}
	mkdir -p "$to"
	mv "$work/kustomize" "$to"
	echo "$*" >"$to/sum"
	rm -r "$work"
	say "$1: built in $((SECONDS - began)) s"
}

for each in "${versions[@]}"; do
	IFS='|' read -r version module api kyaml <<<"$each"
	build "$version" "$module" "$api" "$kyaml"
done
