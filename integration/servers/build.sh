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

# name | build tags | how long it takes when nothing is cached
servers=(
	"vault|minimal|5 to 8 minutes"
	"gatefs||about half a minute"
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

build() {
	local name=$1 tags=$2 takes=$3 hash log began=$SECONDS
	local flags=(-trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w")
	hash=$(hash_of "$name" "${flags[@]}")
	if [[ -x $out/$name && -f $out/$name.sum && $(<"$out/$name.sum") == "$hash" ]]; then
		say "$name: up to date"
		return
	fi
	say "$name: building from its Go modules, $takes when nothing is cached ..."
	if ! log=$(CGO_ENABLED=0 go -C "$name" build "${flags[@]}" -o "../$out/$name.new" . 2>&1); then
		echo "$log" >&2
		say "$name: the build failed" >&2
		return 1
	fi
	rm -f "$out/$name.sum"
	mv "$out/$name.new" "$out/$name"
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
	IFS='|' read -r name tags takes <<<"$server"
	if [[ $# -eq 0 || " $* " == *" $name "* ]]; then
		build "$name" "$tags" "$takes"
	fi
done
