#!/usr/bin/env bash
# Builds the images of the node's pods into DIR/images, as archives: images.sh DIR
# Only some parts of it: images.sh DIR PART...
#
# The sidecar's comes from the project's Dockerfile, on stand-ins for the images
# that it begins with, made of this machine's own Go and certificates: nothing
# is pulled. Vault's has what the official one has and the chart needs: a shell,
# pidof, docker-entrypoint.sh, and the user 100; and, where CLOSED_RULE says so,
# a proxy that closes what newer servers close.
#
# It needs root, and the Debian packages buildah, busybox-static and libcap2-bin.
set -euo pipefail
root=$(CDPATH="" cd -- "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1/images"
dir=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay
buildah() { command buildah --root "$dir/buildah" --runroot "$dir/buildah-run" "$@"; }

# busybox ROOT puts a shell and its programs into a file system.
busybox() {
	local program
	mkdir -p "$1"/{bin,tmp,etc}
	chmod 1777 "$1/tmp"
	cp /bin/busybox "$1/bin/busybox"
	for program in $(busybox_programs); do ln -sf busybox "$1/bin/$program"; done
	echo root:x:0:0::/root:/bin/sh >"$1/etc/passwd"
	echo root:x:0: >"$1/etc/group"
}
busybox_programs() { /bin/busybox --list | grep -vx busybox; }

# image NAME ROOT [CONFIG...] makes an image of a file system.
image() {
	local name=$1 from=$2 container
	shift 2
	container=$(buildah from scratch)
	buildah copy --quiet "$container" "$from" / >/dev/null
	buildah config "$@" "$container"
	buildah commit --quiet --timestamp 0 "$container" "$name" >/dev/null
	buildah rm "$container" >/dev/null
}

# archive FILE NAME [TAG...] writes an image for containerd to import.
archive() {
	local file=$dir/images/$1.tar
	rm -f "$file.new"
	buildah push --quiet "$2" "docker-archive:$file.new:$2"
	mv "$file.new" "$file"
	echo "images: $2, $(($(stat -c %s "$file") / 1000000)) MB"
}

# unchanged FILE INPUT... tells whether an archive was made of the same inputs,
# and notes them.
unchanged() {
	local file=$dir/images/$1 sum
	sum=$(cat "${BASH_SOURCE[0]}" "${@:2}" | sha256sum)
	[[ -f $file.tar && -f $file.sum && $(<"$file.sum") == "$sum" ]] && return
	rm -f "$file.tar"
	echo "$sum" >"$file.sum"
	return 1
}

pause() {
	unchanged pause "$root/integration/node/pause/main.go" && return
	mkdir -p "$scratch/pause"
	CGO_ENABLED=0 go -C "$root" build -trimpath -ldflags "-s -w" -o "$scratch/pause/pause" ./integration/node/pause
	image localhost/pause:node "$scratch/pause" --entrypoint '["/pause"]'
	archive pause localhost/pause:node
}

shell() {
	unchanged busybox /bin/busybox && return
	busybox "$scratch/busybox"
	image docker.io/library/busybox:1.37 "$scratch/busybox" --cmd sh
	archive busybox docker.io/library/busybox:1.37
}

vault() {
	unchanged vault "$root/bin/servers/vault" "$root/bin/servers/closed" && return
	local to=$scratch/vault
	busybox "$to"
	mkdir -p "$to"/{usr/local/bin,vault/config,vault/data,home/vault}
	cp "$root/bin/servers/vault" "$root/bin/servers/closed" "$to/bin/"
	cat >"$to/usr/local/bin/docker-entrypoint.sh" <<-'END'
		#!/bin/sh
		[ -z "$CLOSED_RULE" ] || closed &
		exec "$@"
	END
	chmod +x "$to/usr/local/bin/docker-entrypoint.sh"
	echo vault:x:100:1000::/home/vault:/sbin/nologin >>"$to/etc/passwd"
	image docker.io/hashicorp/vault:1.21.4 "$to" --entrypoint '["docker-entrypoint.sh"]' --env PATH=/usr/local/bin:/bin
	archive vault docker.io/hashicorp/vault:1.21.4
}

# file_capability is the Vault of the releases whose binary has IPC_LOCK: exec
# fails where a container may never have that capability.
file_capability() {
	unchanged file-capability "$root/bin/servers/vault" && return
	local to=$scratch/file-capability
	busybox "$to"
	cp "$root/bin/servers/vault" "$to/bin/vault"
	setcap cap_ipc_lock=+ep "$to/bin/vault"
	image localhost/vault:file-capability "$to" --env PATH=/bin
	archive file-capability localhost/vault:file-capability
}

external_secrets() {
	unchanged external-secrets "$root/bin/servers/external-secrets" && return
	mkdir -p "$scratch/eso/bin" "$scratch/eso/tmp"
	cp "$root/bin/servers/external-secrets" "$scratch/eso/bin/external-secrets"
	image localhost/external-secrets:node "$scratch/eso" --user 65534 --entrypoint '["/bin/external-secrets"]'
	archive external-secrets localhost/external-secrets:node
}

# golang stands in for what the Dockerfile's build begins with; this machine's Go
# is mounted into it.
stand_in=localhost/golang:node
golang() {
	busybox "$scratch/golang"
	mkdir -p "$scratch/golang/etc/ssl/certs" "$scratch/golang/usr/local/go"
	cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/golang/etc/ssl/certs/"
	image "$stand_in" "$scratch/golang" --env PATH=/usr/local/go/bin:/bin --env GOPATH=/go --env GOTOOLCHAIN=local --env GOPROXY=off
}

# flags prints what make image takes to build on that.
flags() {
	echo "--pull=never --quiet --from $stand_in --volume $(go env GOROOT):/usr/local/go:ro --volume $(go env GOMODCACHE):/go/pkg/mod" \
		"--volume $(go env GOCACHE):/root/.cache/go-build"
}

# sidecar builds for each architecture; the node is given the image by the name
# that the patches ask for.
sidecar() {
	local wanted
	wanted=$(sed -n 's/^ *image: //p' "$root/patches/pod/pod.yaml")
	golang
	go -C "$root" mod download
	local arch
	for arch in amd64 arm64; do
		make -C "$root" --no-print-directory image ARCH=$arch IMAGE=ghcr.io/alybadawy/vault-unseal-sidecar TAG=$arch \
			BUILDER="buildah --root $dir/buildah --runroot $dir/buildah-run" IMAGE_FLAGS="$(flags)" >/dev/null
	done
	buildah tag ghcr.io/alybadawy/vault-unseal-sidecar:amd64 "$wanted"
	archive sidecar "$wanted"
}

parts=("${@:2}")
((${#parts[@]})) || parts=(pause shell vault file_capability external_secrets sidecar)
for part in "${parts[@]}"; do "$part"; done
