#!/usr/bin/env bash
# Builds the real servers for the integration tests, the demo and the benchmark
# into bin/servers, all of them or those named:
#
#   integration/servers/build.sh [NAME...]
#
# A server is built again only when its files or the way it is built changed.
# That is told by a hash beside the binary: after a git clone every file is new
# to make. One server at a time: each of the big ones wants gigabytes of memory
# while it links.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
out=../../bin/servers

# The programs of Kubernetes know their version from the linker alone: without
# it they call themselves v0.0.0-master.
kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' kubernetes/go.mod)
IFS=. read -r major minor _ <<<"${kubernetes#v}"
version=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	version+=" -X $package.gitVersion=$kubernetes"
	version+=" -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done

# name | its programs | build tags | more linker flags | its module, when it has
# CRDs or files to replace | the folder of the CRDs | how long it takes when
# nothing is cached
servers=(
	"vault|.|minimal||github.com/hashicorp/vault||3 to 10 minutes"
	"stallfs|.|||||about half a minute"
	"closed|.|||||a few seconds"
	"kubernetes|. ./kubectl||$version|||8 to 20 minutes"
	"external-secrets|.|||github.com/external-secrets/external-secrets|config/crds/bases|3 to 6 minutes"
)

say() { echo "servers: $*"; }

# hash_of NAME FLAG... covers everything in the server's folder that can end up
# in the binary.
hash_of() {
	local name=$1
	shift
	{
		echo "$@"
		(cd "$name" && find . -type f ! -name '*_test.go' -print0 | sort -z | xargs -0 sha256sum)
	} | sha256sum | cut -d " " -f 1
}

# folder_of NAME MODULE is where a module of the server lies, which go list alone
# does not know of one that nothing has downloaded yet.
folder_of() {
	go -C "$1" mod download "$2"
	go -C "$1" list -m -f '{{.Dir}}' "$2"
}

# copy_crds NAME MODULE FOLDER takes the CRDs from the module that was built,
# so that both are of one version. The kustomization.yaml among them is left.
copy_crds() {
	local to=$out/$1-crds dir
	dir=$(folder_of "$1" "$2")
	rm -rf "$to" "$to.new"
	mkdir "$to.new"
	cp "$dir/$3/"*.io_*.yaml "$to.new"
	chmod u+w "$to.new"/* # the module cache is read-only
	mv "$to.new" "$to"
}

# lean NAME MODULE makes a copy of the module in which the files of the server's
# folder lean/ replace those of the same path, and a go.mod that builds with it.
# Go itself has no way to leave out what a module's packages import. lean.sed
# edits the module's Go files where they do not fit what they are built with.
lean() {
	local copy=$PWD/$out/.$1-module dir
	dir=$(folder_of "$1" "$2")
	rm -rf "$copy"
	cp -r --no-preserve=mode "$dir" "$copy"
	cp -r "$1/lean/." "$copy"
	cp "$1/go.mod" "$copy.mod"
	cp "$1/go.sum" "$copy.sum"
	go mod edit -replace "$2=$copy" "$copy.mod"
	if [[ -f $1/lean.sed ]]; then
		find "$copy" -name "*.go" -exec sed -i -f "$1/lean.sed" {} +
	fi
}

# all_there NAME PROGRAM... tells whether what a server's folder makes is there.
all_there() {
	local each
	for each in "$1" "${@:2}"; do
		[[ $each == . || -x $out/$(basename "$each") ]] || return 1
	done
}

build() {
	local name=$1 tags=$3 link=$4 module=$5 crds=$6 takes=$7 programs hash log began=$SECONDS
	read -ra programs <<<"$2"
	local flags=(-trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w$link")
	hash=$(hash_of "$name" "${flags[@]}" "${programs[@]}")
	if all_there "$name" "${programs[@]}" && [[ (-z $crds || -d $out/$name-crds) &&
		-f $out/$name.sum && $(<"$out/$name.sum") == "$hash" ]]; then
		say "$name: up to date"
		return
	fi
	say "$name: building from its Go modules, $takes when nothing is cached ..."
	if [[ -d $name/lean ]]; then
		lean "$name" "$module"
		flags+=(-modfile "$PWD/$out/.$name-module.mod")
	fi
	rm -rf "$out/$name.new"
	if ! log=$(CGO_ENABLED=0 go -C "$name" build "${flags[@]}" -o "../$out/$name.new/" "${programs[@]}" 2>&1); then
		echo "$log" >&2
		say "$name: the build failed" >&2
		return 1
	fi
	rm -f "$out/$name.sum"
	mv "$out/$name.new"/* "$out"
	rmdir "$out/$name.new"
	if [[ -n $crds ]]; then
		copy_crds "$name" "$module" "$crds"
	fi
	rm -rf "$out/.$name-module"*
	echo "$hash" >"$out/$name.sum"
	say "$name: built in $((SECONDS - began)) s, $(($(stat -c %s "$out/$name") / 1000000)) MB"
}

mkdir -p "$out"
exec {lock}>"$out/.lock"
if ! flock --nonblock "$lock"; then
	say "another build is running, waiting for it ..."
	flock "$lock"
fi

known=" "
for server in "${servers[@]}"; do known+="${server%%|*} "; done
for name in "$@"; do
	if [[ $known != *" $name "* ]]; then
		say "unknown server $name, there are:$known" >&2
		exit 2
	fi
done
for server in "${servers[@]}"; do
	IFS='|' read -r name programs tags link module crds takes <<<"$server"
	if [[ $# -eq 0 || " $* " == *" $name "* ]]; then
		build "$name" "$programs" "$tags" "$link" "$module" "$crds" "$takes"
	fi
done
