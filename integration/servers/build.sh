#!/usr/bin/env bash
# Builds the real servers for the integration tests, the demo and the benchmark
# into bin/servers, all of them or those named:
#
#   integration/servers/build.sh [NAME...]
#
# apiserver is what the demo takes of kubernetes, and is built when it is named: a
# folder with etcd, kube-apiserver and kubectl.
#
# A server is built again only when its files or the way it is built changed.
# That is told by a hash beside the binary: after a git clone every file is new
# to make. One server at a time: each of the big ones wants gigabytes of memory
# while it links.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p ../../bin/servers
out=$(cd ../../bin/servers && pwd)

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
# CRDs or files to replace, and others with files to replace | the folder of the
# CRDs | how long it takes when nothing is cached
servers=(
	"vault|.|minimal||github.com/hashicorp/vault github.com/hashicorp/vault/sdk k8s.io/api k8s.io/apimachinery||2 to 5 minutes"
	"stallfs|.|||||about half a minute"
	"closed|.|||||a few seconds"
	"kubernetes|. ./kubectl||$version|||8 to 20 minutes"
	"apiserver|. ./kubectl|apiserver|$version|||5 to 12 minutes"
	"external-secrets|.|||github.com/external-secrets/external-secrets k8s.io/client-go|config/crds/bases|3 to 6 minutes"
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

# lean NAME MODULE... makes copies of modules, and a go.mod that builds with them.
# Go itself has no way to leave out what a module's packages import. The others
# lie in the copy of the first: where the repository has them, or else in a folder
# of their own name. In it the paths of lean.remove are removed, the files of the
# server's folder lean/ replace those of the same path, and FILE.sed edits FILE.
lean() {
	local name=$1 module=$2 copy=$out/.$1-module each to script
	rm -rf "$copy"
	cp "$name/go.mod" "$copy.mod"
	cp "$name/go.sum" "$copy.sum"
	for each in "${@:2}"; do
		to=${each#"$module"}
		to=$copy${to:+/${to#/}}
		mkdir -p "$(dirname "$to")"
		cp -r --no-preserve=mode "$(folder_of "$name" "$each")" "$to"
		go mod edit -replace "$each=$to" "$copy.mod"
	done
	if [[ -f $name/lean.remove ]]; then
		while read -r each; do
			(cd "$copy" && compgen -G "$each" | xargs rm -r) || {
				say "$name: $each of lean.remove is not there" >&2
				return 1
			}
		done <"$name/lean.remove"
	fi
	cp -r "$name/lean/." "$copy"
	while read -r script; do
		sed -i -f "$script" "${script%.sed}"
		rm "$script"
	done < <(find "$copy" -name "*.go.sed")
}

# progress NAME reads what go list and go build -v print: the modules that are
# downloaded, the number of all packages, then each that is compiled. It tells
# every 15 seconds how far that is; lines of another kind are errors.
progress() {
	local line began=$SECONDS next=15 modules=0 total="" compiled=0 spent
	while true; do
		if IFS= read -r -t 15 line; then
			case $line in
			"go: downloading "*) modules=$((modules + 1)) ;;
			*[[:space:]]* | "") echo "$line" >&2 ;;
			*[!0-9]*) compiled=$((compiled + 1)) ;;
			*) total=$line ;;
			esac
		elif (($? <= 128)); then
			return
		fi
		spent=$((SECONDS - began))
		((spent >= next)) || continue
		next=$((spent + 15))
		spent="$((spent / 60)) min $((spent % 60)) s"
		if [[ -z $total ]]; then
			say "$1: $modules modules downloaded, $spent"
		else
			say "$1: $compiled of at most $total packages compiled, $spent"
		fi
	done
}

# all_there NAME PROGRAM... tells whether what a server's folder makes is there.
all_there() {
	local each in=$out
	[[ ! -d $out/$1 ]] || in=$out/$1
	[[ -x $out/$1 ]] || return 1
	for each in "${@:2}"; do
		[[ $each == . || -x $in/$(basename "$each") ]] || return 1
	done
}

build() {
	local name=$1 folder=$1 tags=$3 link=$4 module=$5 crds=$6 takes=$7 programs modules hash began=$SECONDS
	[[ $name != apiserver ]] || folder=kubernetes
	read -ra programs <<<"$2"
	read -ra modules <<<"$module"
	# The linker drops what a debugger needs. Nothing makes it but for the standard
	# library, which is compiled once for all servers and what else the demo takes.
	local flags=(-trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w$link"
		-gcflags "all=-dwarf=false" -gcflags std=)
	hash=$(hash_of "$folder" "${flags[@]}" "${programs[@]}")
	if all_there "$name" "${programs[@]}" && [[ (-z $crds || -d $out/$name-crds) &&
		-f $out/$name.sum && $(<"$out/$name.sum") == "$hash" ]]; then
		say "$name: up to date"
		return
	fi
	say "$name: building from its Go modules, $takes when nothing is cached ..."
	if [[ -d $name/lean ]]; then
		lean "$name" "${modules[@]}"
		flags+=(-modfile "$out/.$name-module.mod")
	fi
	rm -rf "$out/$name.new"
	export CGO_ENABLED=0
	if ! {
		go -C "$folder" list -deps "${flags[@]}" "${programs[@]}" | wc -l &&
			GOGC=400 go -C "$folder" build -v "${flags[@]}" -o "$out/$name.new/" "${programs[@]}"
	} 2>&1 | progress "$name"; then
		say "$name: the build failed" >&2
		return 1
	fi
	rm -f "$out/$name.sum"
	if [[ $name == apiserver ]]; then
		mv "$out/$name.new/$folder" "$out/$name.new/kube-apiserver"
		ln -s kube-apiserver "$out/$name.new/etcd"
		rm -rf "${out:?}/$name"
		mv "$out/$name.new" "$out/$name"
	else
		mv "$out/$name.new"/* "$out"
		rmdir "$out/$name.new"
	fi
	if [[ -n $crds ]]; then
		copy_crds "$name" "${modules[0]}" "$crds"
	fi
	rm -rf "$out/.$name-module"*
	echo "$hash" >"$out/$name.sum"
	say "$name: built in $((SECONDS - began)) s, $(du -sm "$out/$name" | cut -f 1) MB"
}

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
	if [[ ($# -eq 0 && $name != apiserver) || " $* " == *" $name "* ]]; then
		build "$name" "$programs" "$tags" "$link" "$module" "$crds" "$takes"
	fi
done
