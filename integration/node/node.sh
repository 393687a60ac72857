#!/usr/bin/env bash
# A whole Kubernetes node on this machine, in namespaces of its own:
#
#   node.sh up DIR [MODE]    start it; what DIR kept of an earlier run is used
#   node.sh down DIR         end it as a power cut does; DIR keeps its disk
#
# Everything the node is lives under DIR and below one process, whose end ends
# it all. MODE is that of stallfs from its first moment (open, hang,
# eio): the directory DIR/data, where pods can have their volumes. `up` returns
# when the node is Ready, and else says which part failed and how its log ends.
# DIR/admin.kubeconfig lets an administrator in, at 10.200.0.2.
#
# It needs root, cgroups of version 1 or 2, and the Debian packages containerd,
# runc, containernetworking-plugins, iptables, conntrack and fuse3. One node at
# a time.
set -euo pipefail
here=$(CDPATH="" cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
servers=$(cd "$here/../../bin/servers" && pwd)
kubernetes=$servers/kubernetes

readonly link=unseal0            # our end of the cable to the node
readonly cgroup=unseal-node      # all of the node's processes
readonly host=10.200.0.1 ip=10.200.0.2
readonly pods=10.88.0.0/24 services=10.96.0.0/16

fail() {
	echo "node: $*" >&2
	exit 1
}

# The parts of the node, in the order in which they start. Each runs inside.
parts=(stallfs etcd kube-apiserver containerd kube-controller-manager kube-scheduler coredns kube-proxy kubelet)

start() {
	local part=$1
	case $part in
	stallfs)
		set -- "$servers/stallfs" serve --backing "$dir/disk" --mount "$dir/data" --control "$dir/stallfs.sock" --mode "$mode"
		;;
	etcd)
		set -- "$kubernetes" etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
			--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
		;;
	kube-apiserver)
		set -- "$kubernetes" kube-apiserver --etcd-servers http://127.0.0.1:2379 \
			--secure-port 6443 --advertise-address $ip --service-cluster-ip-range $services \
			--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
			--client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
			--service-account-issuer https://kubernetes.default.svc.cluster.local \
			--service-account-key-file "$pki/tokens.key" --service-account-signing-key-file "$pki/tokens.key" \
			--kubelet-client-certificate "$pki/to-kubelet.crt" --kubelet-client-key "$pki/to-kubelet.key" \
			--kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP
		;;
	containerd)
		set -- containerd -c "$dir/containerd.toml"
		;;
	kube-controller-manager)
		set -- "$kubernetes" kube-controller-manager --kubeconfig "$pki/controllers.kubeconfig" --leader-elect=false \
			--bind-address 127.0.0.1 --use-service-account-credentials \
			--service-account-private-key-file "$pki/tokens.key" --root-ca-file "$pki/ca.crt"
		;;
	kube-scheduler)
		set -- "$kubernetes" kube-scheduler --kubeconfig "$pki/scheduler.kubeconfig" --leader-elect=false --bind-address 127.0.0.1
		;;
	coredns)
		set -- "$kubernetes" coredns -conf "$dir/Corefile"
		;;
	kube-proxy)
		set -- "$kubernetes" kube-proxy --kubeconfig "$pki/proxy.kubeconfig" --hostname-override node \
			--cluster-cidr $pods --conntrack-max-per-core 0
		;;
	kubelet)
		set -- "$kubernetes" kubelet --config "$dir/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
			--root-dir "$dir/kubelet" --hostname-override node --node-ip $ip
		;;
	esac
	"$@" >"$dir/log/$part" 2>&1 &
	echo $! >"$dir/pid/$part"
}

# inside is the first process of the namespaces: it starts the parts, reaps what
# they leave behind, and ends everything by ending.
inside() {
	mount --make-rshared /
	mount -t tmpfs none /run
	ip link set lo up
	until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
	ip addr add $ip/30 dev eth0
	ip link set eth0 up
	ip route add default via $host
	sysctl -qw net.ipv4.ip_forward=1
	local part
	for part in "${parts[@]}"; do
		[[ $part != kube-controller-manager ]] || until ready; do sleep 0.1; done
		start "$part"
	done
	while :; do wait -n || sleep 0.2; done
}

kubectl() { "$servers/kubectl" --kubeconfig "$dir/admin.kubeconfig" "$@"; }

ready() { [[ $(kubectl get --raw /readyz 2>/dev/null) == ok ]]; }

# await SECONDS WHAT COMMAND... repeats the command until it succeeds. It ends
# early, and says so, when a part of the node has.
await() {
	local until=$((SECONDS + $1)) what=$2 part
	shift 2
	until "$@" >/dev/null 2>&1; do
		alive "$init" || fail "the node ended; its log ends:"$'\n'"$(tail -n 5 "$dir/log/init")"
		for part in "${parts[@]}"; do
			[[ ! -s $dir/pid/$part ]] || nsenter -t "$init" -p -m kill -0 "$(<"$dir/pid/$part")" 2>/dev/null ||
				fail "$part ended; its log ends:"$'\n'"$(tail -n 10 "$dir/log/$part")"
		done
		((SECONDS < until)) || {
			echo "node: waited in vain for $what; the logs end:" >&2
			tail -n 4 "$dir"/log/* >&2
			exit 1
		}
		sleep 0.1
	done
}

alive() { kill -0 "$1" 2>/dev/null; }

certificate() { # NAME SUBJECT [EXTENSION...]
	local name=$1 subject=$2
	shift 2
	openssl ecparam -genkey -name prime256v1 -noout -out "$pki/$name.key"
	openssl req -new -key "$pki/$name.key" -subj "$subject" |
		openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 \
			-extfile <(printf '%s\n' "$@") -out "$pki/$name.crt" 2>/dev/null
}

kubeconfig() { # FILE USER [GROUP]: with a certificate of that name
	local name
	name=$(basename "$1" .kubeconfig)
	certificate "$name" "${3:+/O=$3}/CN=$2" extendedKeyUsage=clientAuth
	cat >"$1" <<-END
		apiVersion: v1
		kind: Config
		clusters: [{name: node, cluster: {server: "https://$ip:6443", certificate-authority: $pki/ca.crt}}]
		users: [{name: $2, user: {client-certificate: $pki/$name.crt, client-key: $pki/$name.key}}]
		contexts: [{name: node, context: {cluster: node, user: "$2"}}]
		current-context: node
	END
}

make_pki() {
	[[ ! -e $pki/done ]] || return 0
	mkdir -p "$pki"
	openssl ecparam -genkey -name prime256v1 -noout -out "$pki/ca.key"
	openssl req -x509 -new -key "$pki/ca.key" -subj /CN=unseal-node -days 3650 -out "$pki/ca.crt"
	openssl ecparam -genkey -name prime256v1 -noout -out "$pki/tokens.key"
	local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	certificate apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth "subjectAltName=$names,IP:127.0.0.1,IP:$ip,IP:${services%.0/*}.1"
	certificate kubelet-server /CN=node extendedKeyUsage=serverAuth "subjectAltName=IP:$ip,DNS:node"
	certificate to-kubelet /O=system:masters/CN=kube-apiserver extendedKeyUsage=clientAuth
	kubeconfig "$dir/admin.kubeconfig" administrator system:masters
	kubeconfig "$pki/controllers.kubeconfig" system:kube-controller-manager
	kubeconfig "$pki/scheduler.kubeconfig" system:kube-scheduler
	kubeconfig "$pki/proxy.kubeconfig" system:kube-proxy
	kubeconfig "$pki/kubelet.kubeconfig" system:node:node system:nodes
	touch "$pki/done"
}

make_config() {
	cat >"$dir/containerd.toml" <<-END
		version = 2
		root = "$dir/containerd"
		state = "$dir/containerd-state"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
		[grpc]
		address = "$dir/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "localhost/pause:node"
		disable_apparmor = true
		restrict_oom_score_adj = true # a machine like a CI's lacks CAP_SYS_RESOURCE
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "/usr/lib/cni"
		conf_dir = "$dir/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
	END
	mkdir -p "$dir/cni"
	cat >"$dir/cni/node.conflist" <<-END
		{"cniVersion": "0.4.0", "name": "node", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
		 "dataDir": "$dir/addresses", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
	cat >"$dir/Corefile" <<-END
		.:53 {
		  errors
		  kubernetes cluster.local in-addr.arpa {
		    kubeconfig $dir/admin.kubeconfig
		  }
		}
	END
	echo "nameserver $ip" >"$dir/resolv.conf"
	cat >"$dir/kubelet.yaml" <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		failCgroupV1: false
		cgroupDriver: cgroupfs
		cgroupRoot: /$cgroup
		failSwapOn: false
		containerRuntimeEndpoint: unix://$dir/containerd.sock
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
		authorization: {mode: Webhook}
		tlsCertFile: $pki/kubelet-server.crt
		tlsPrivateKeyFile: $pki/kubelet-server.key
		clusterDNS: [$ip]
		clusterDomain: cluster.local
		resolvConf: $dir/resolv.conf
		podLogsDir: $dir/pods
		syncFrequency: 2s # a changed Secret is seen soon
		nodeStatusUpdateFrequency: 5s
		imageGCHighThresholdPercent: 100 # no image can be had again
		evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
	END
}

# On version 1 each controller has a tree of its own, on version 2 all share one,
# whose root must hold no process before it may hand controllers down.
make_cgroups() {
	local tree
	if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
		tree=/sys/fs/cgroup
		mkdir -p $tree/rest $tree/$cgroup
		xargs -rn1 <$tree/cgroup.procs >$tree/rest/cgroup.procs 2>/dev/null || true
		sed 's/[^ ]*/+&/g' $tree/cgroup.controllers >$tree/cgroup.subtree_control
		return
	fi
	for tree in /sys/fs/cgroup/*/; do
		mkdir -p "$tree$cgroup"
		[[ ! -e $tree$cgroup/cpuset.cpus ]] || {
			cat "${tree}cpuset.cpus" >"$tree$cgroup/cpuset.cpus"
			cat "${tree}cpuset.mems" >"$tree$cgroup/cpuset.mems"
		}
	done
}

up() {
	local need
	[[ $(id -u) == 0 ]] || fail "it needs root"
	for need in containerd runc iptables conntrack openssl nsenter ip; do
		command -v $need >/dev/null || fail "$need is missing: see the packages in ${BASH_SOURCE[0]}"
	done
	[[ ! -e $dir/init.pid ]] || ! alive "$(<"$dir/init.pid")" || fail "it is up already: $dir"
	! ip link show $link >/dev/null 2>&1 || fail "another node is up on this machine: it has the link $link"
	rm -rf "$dir/pid" "$dir/containerd-state" "$dir/stallfs.sock"
	mkdir -p "$dir"/{log,pid,disk,data,etcd,kubelet}
	make_pki
	make_config
	make_cgroups
	for need in vm.overcommit_memory kernel.panic kernel.panic_on_oops; do # the kubelet sets these
		[[ -e $dir/sysctl ]] || sysctl $need
	done >"$dir/sysctl.new"
	[[ ! -s $dir/sysctl.new ]] || mv "$dir/sysctl.new" "$dir/sysctl"

	setsid unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
		"${BASH_SOURCE[0]}" inside "$dir" "$mode" >"$dir/log/init" 2>&1 </dev/null &
	local outer=$!
	until init=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) && init=${init// /} && [[ $init ]]; do
		alive $outer || fail "no namespaces can be had: $(tail -n 3 "$dir/log/init")"
		sleep 0.02
	done
	echo "$init" >"$dir/init.pid"
	ip link add $link type veth peer name eth0 netns "$init"
	ip addr add $host/30 dev $link
	ip link set $link up
	ip route add $services via $ip
	ip route add $pods via $ip
	await 60 "the API server" ready
	await 20 containerd test -S "$dir/containerd.sock"
	import_images
	await 60 "the node to be Ready" kubectl wait --for=condition=Ready node/node --timeout=1s
	await 30 "the default ServiceAccount" kubectl -n default get serviceaccount default
	echo "node: up"
}

# import_images gives the node the images in DIR/images, those it does not have
# yet.
import_images() {
	local image
	for image in "$dir"/images/*.tar; do
		[[ ! $dir/imported/$(basename "$image") -nt $image ]] || continue
		nsenter -t "$init" -m -n -p ctr -a "$dir/containerd.sock" -n k8s.io images import "$image" >>"$dir/log/import" 2>&1 ||
			fail "$image cannot be imported: $(tail -n 3 "$dir/log/import")"
		mkdir -p "$dir/imported"
		touch "$dir/imported/$(basename "$image")"
	done
}

down() {
	[[ -e $dir/init.pid ]] || return 0
	init=$(<"$dir/init.pid")
	# A number is used again: after a reboot of this machine it may be another's.
	grep -qs "$dir" "/proc/$init/cmdline" || {
		rm -f "$dir/init.pid"
		return 0
	}
	# What hangs in the storage cannot end before it serves or fails.
	[[ ! -S $dir/stallfs.sock ]] || timeout 5 "$servers/stallfs" set --control "$dir/stallfs.sock" eio >/dev/null 2>&1 || true
	kill -KILL "$init" 2>/dev/null || true
	local i
	for ((i = 0; i < 200; i++)); do
		alive "$init" || break
		sleep 0.1
	done
	! alive "$init" || fail "process $init does not end"
	ip link del $link 2>/dev/null || true
	# A cgroup can be removed when its last process is gone.
	for ((i = 0; i < 50; i++)); do
		find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
		[[ -n $(find /sys/fs/cgroup -type d -name $cgroup) ]] || break
		sleep 0.1
	done
	sed 's/ = /=/' "$dir/sysctl" | xargs -r sysctl -qw
	rm -f "$dir/init.pid"
}

(($# >= 2)) || fail "usage: node.sh up DIR [MODE] | node.sh down DIR"
dir=$2 mode=${3:-open} pki=$2/pki
mkdir -p "$dir"
dir=$(cd "$dir" && pwd) pki=$dir/pki
case $1 in
up | down | inside) "$1" ;;
*) fail "no such command: $1" ;;
esac
