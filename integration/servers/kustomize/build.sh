#!/usr/bin/env bash
# Builds the versions of kustomize that are in use into
# bin/servers/kustomize/VERSION/kustomize, and helm into bin/servers/helm/helm. The
# newest kustomize is in kubectl.
#
# Go's checksum database verifies each module.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(cd ../../../bin/servers && pwd -P)
exec {lock}>"$out/.lock"
flock "$lock"

# version | of its module | of api, and of kyaml, where its go.mod replaces them
versions=(
	"5.0.4|v5.0.4-0.20230601165947-6ce0bf390ce3|v0.13.5-0.20230601165947-6ce0bf390ce3|v0.14.3-0.20230601165947-6ce0bf390ce3" # as in the kubectl of Kubernetes 1.28 to 1.30
	"5.4.3|v5.4.3||"
	"5.6.0|v5.6.0||"
)
helm=v3.22.0

say() { echo "servers: $*"; }

# build FOLDER SUM PACKAGE MODULE... builds a program into a folder below
# bin/servers. The sum says what it was built from.
build() {
	local to=$out/$1 sum=$2 package=$3 program=${1%%/*} began=$SECONDS work
	if [[ -x $to/$program && -f $to/sum && $(<"$to/sum") == "$sum" ]]; then
		say "$1: up to date"
		return
	fi
	work=$(mktemp -d)
	(
		cd "$work"
		go mod init tool
		go get "${@:4}"
		CGO_ENABLED=0 GOGC=400 go build -mod=mod -trimpath -ldflags "-s -w" -o "$program" "$package"
	) 2>"$work/log" || {
		cat "$work/log" >&2
		say "$1: the build failed" >&2
		return 1
	}
	mkdir -p "$to"
	mv "$work/$program" "$to"
	echo "$sum" >"$to/sum"
	rm -r "$work"
	say "$1: built in $((SECONDS - began)) s"
}

path=sigs.k8s.io/kustomize
for each in "${versions[@]}"; do
	IFS='|' read -r version module api kyaml <<<"$each"
	build "kustomize/$version" "$version $module $api $kyaml" "$path/kustomize/v5" \
		"$path/kustomize/v5@$module" ${api:+"$path/api@$api" "$path/kyaml@$kyaml"}
done
build helm "$helm" helm.sh/helm/v3/cmd/helm "helm.sh/helm/v3/cmd/helm@$helm"
