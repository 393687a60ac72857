#!/usr/bin/env bash
# Builds older Vaults for `make compat` into bin/servers/compat/VERSION/vault,
# all of them or those named:
#
#   integration/servers/compat/build.sh [VERSION...]
#
# Each is built in a copy of its own module, whose go.mod and go.sum pin what it
# is made of: the module is verified by Go's checksum database, and so are the
# few modules that lie beside it in Vault's own repository. VERSION.sed edits what
# does not fit the published ones. main.go, and of lean/ and without/ what fits
# every version, are those of the Vault that the tests run against (../vault).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
vault=$PWD/../vault
out=$(cd ../../../bin/servers && pwd -P)/compat

# version | the published sdk and api nearest to what it was built with | edits
# of main.go, where that version's packages are other ones
versions=(
	"1.14.10|0.10.2|1.12.0|s,hashicorp/cli,mitchellh/cli,; s,vault/audit\"$,&; file_audit \"github.com/hashicorp/vault/builtin/audit/file\",; s,audit.NewFileBackend,file_audit.Factory,"
	"1.16.3|0.12.0|1.12.0|s,vault/audit\"$,&; file_audit \"github.com/hashicorp/vault/builtin/audit/file\",; s,audit.NewFileBackend,file_audit.Factory,"
	"1.18.5|0.14.0|1.16.0|"
	"1.20.4|0.19.0|1.22.0|"
)

mkdir -p "$out"

say() { echo "compat: $*"; }

# prepare VERSION SDK API EDITS makes the copy of the module in $out/.VERSION.
prepare() {
	local module=github.com/hashicorp/vault@v$1 copy=$out/.$1 path go each
	go mod download "$module"
	rm -rf "$copy"
	cp -r --no-preserve=mode "$(go env GOMODCACHE)/$module" "$copy"
	cp -r "$vault/lean/helper" "$copy"
	sed "$4" "$vault/main.go" >"$copy/main.go"
	# What the build tag minimal leaves out from 1.18 on, and nothing imports then.
	sed -Ei '/\b(cred|phys)[A-Z]/{/cred(Token|Userpass)|phys(Raft|File|Inmem)/!d}; /\b(logicalDb|csr)\b/d' "$copy/command/commands.go"
	if [[ -f $1.sed ]]; then
		find "$copy" -name "*.go" -exec sed -i -f "$1.sed" {} +
	fi
	cd "$copy"
	for path in api/auth/{approle,kubernetes,userpass}; do
		go mod edit -dropreplace "github.com/hashicorp/vault/$path"
	done
	path=github.com/hashicorp/vault
	# The sdk of 1.20 leads to one that is no longer to be had, and that nothing
	# imports.
	go mod edit -replace "$path/sdk=$path/sdk@v$2" -replace "$path/api=$path/api@v$3" \
		-exclude github.com/hashicorp/go-cmp@v0.0.0-20250414215908-521c6e5d9c1c
	# In the language version of this Vault, which its behavior depends on.
	go=$(awk '$1 == "go" { print $2 }' go.mod)
	cp -r "$vault/without" without
	for each in without/{discover,gcp-common,okta}/; do
		path=$(awk '$1 == "module" { print $2 }' "$each/go.mod")
		if grep -q "	$path " go.mod; then
			go -C "$each" mod edit -go "$go" -droprequire golang.org/x/oauth2
			go mod edit -replace "$path=./$each"
		fi
	done
}

# build VERSION SDK API EDITS builds when what goes into the binary has changed.
build() {
	local flags=(-mod=mod -trimpath -buildvcs=false -tags minimal -ldflags "-s -w") to=$out/$1 hash began=$SECONDS
	hash=$({
		echo "$@" "${flags[@]}"
		declare -f prepare
		cat "$vault/main.go"
		[[ ! -f $1.sed ]] || cat "$1.sed"
		find "$vault"/{lean/helper,without/{discover,gcp-common,okta}} -type f -print0 | sort -z | xargs -0 cat
	} | sha256sum | cut -d " " -f 1)
	if [[ -x $to/vault && -f $to/vault.sum && $(<"$to/vault.sum") == "$hash" ]]; then
		say "$1: up to date"
		return
	fi
	say "$1: building from its Go modules, 3 to 10 minutes when nothing is cached ..."
	(prepare "$@")
	mkdir -p "$to"
	CGO_ENABLED=0 go -C "$out/.$1" build "${flags[@]}" -o "$to/vault" .
	rm -rf "$out/.$1"
	echo "$hash" >"$to/vault.sum"
	say "$1: built in $((SECONDS - began)) s, $(($(stat -c %s "$to/vault") / 1000000)) MB"
}

for each in "${versions[@]}"; do
	IFS='|' read -r version sdk api edits <<<"$each"
	if [[ $# -eq 0 || " $* " == *" $version "* ]]; then
		build "$version" "$sdk" "$api" "$edits"
	fi
done
