# shellcheck shell=bash disable=SC2034,SC2154
# What the scripts share: their options, and how they speak to Kubernetes and
# Vault. It is sourced, not run.
#
# A secret is only ever in a variable of the shell and in a pipe: never an
# argument of a program, which everybody on the machine can see, and never in a
# file. printf is a builtin of bash, so what it is given is no argument.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
	echo "${0##*/}: bash 4.4 or later is needed, and this is $BASH_VERSION" >&2
	exit 1
fi
set -euo pipefail
set +x
umask 077

# Nothing is taken from the environment under a name of the scripts', nor handed on there: a
# variable that was exported stays so, and a key may come into it.
unset -v POSIXLY_CORRECT # export -p prints otherwise
set +a +o posix
for each in VAULT_POD $(export -p | LC_ALL=C sed -n '/^declare -x [a-z_]*_proxy=/d; s/^declare -x \([a-z_][a-z_0-9]*\)=.*/\1/p'); do unset -v "$each"; done
root=$(CDPATH="" cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=vault.sh
. "$root/scripts/vault.sh"
settings=$root/manifests/homelab/settings.yaml chosen=""
namespace="" statefulset="" container="" sidecar=vault-unseal-sidecar
secret=vault-unseal-key key=key context="" dry_run="" trust_secret=""

# Those for which a script sets a variable of its own before parse_options.
options_help='  --settings FILE      your names: what no other option says is taken from there
                       (manifests/homelab/settings.yaml)
  --namespace NAME     where Vault is (as in the settings: security)
  --statefulset NAME   Vault'"'"'s (as in the settings: vault)
  --container NAME     Vault'"'"'s in its pod (as in the settings: vault)
  --secret NAME        with the unseal key (vault-unseal-key)
  --key NAME           the key in that Secret (key)
  --context NAME       of the kubeconfig
  --dry-run            say what would be done, and do nothing
  --help               print this'

keepers_help='  --trust-secret       you know that nothing puts back what the Secret held'

name=$(basename "$0")
exec {screen}>&2 # where a wait shows, whatever becomes of the words of what it runs

# shown copies lines without what a terminal would act on or hide, since names
# and messages of the cluster and of Vault are other people's text.
shown() {
	if type -P jq >/dev/null; then with_text visible -Rr --unbuffered; else cat; fi
}

# harmless TEXT LENGTH tells whether a text is printable ASCII, and no longer: no jq is
# started for that. A range is of codes then, whatever the language.
shopt -s globasciiranges
harmless() { ((${#1} <= $2)) && [[ $1 != *[!\ -~]* ]]; }

# plain TEXT... prints the words of others: one line, and no more than a screen
# has room for.
plain() (
	if harmless "$*" 1000 && [[ " $* " != *"  "* ]]; then
		printf '%s\n' "$*"
	else
		printf '%s' "$*" | with_text 'oneline(1000)' -Rrs
	fi
)

# wiped prints what takes the line of a wait away, where a message is to stand.
wiped() { [[ ! ${wipe-} || ! -t 2 ]] || printf %s "$wipe" || true; }

# A terminal that is gone ends nothing half-way.
show() { (if harmless "$*" 4000; then printf '%s\n' "$*"; else printf '%s\n' "$*" | shown; fi) || true; }
say() { show "$name: $*"; }
warn() {
	wiped >&2
	show "$name: $*" >&2
}
fail() {
	warn "$@"
	exit 1
}
misused() {
	warn "$* ($name --help tells more)"
	exit 2
}

# common_option takes an option that all scripts have, and sets `took` to how
# many words it was; 0 when it is none of these.
common_option() {
	took=2
	case $1 in
	--settings | --namespace | --statefulset | --container | --secret | --key | --context)
		[[ ${2-} ]] || misused "$1 needs a value"
		printf -v "${1#--}" %s "$2"
		;;
	--dry-run) dry_run=yes took=1 ;;
	--help | -h)
		help
		exit 0
		;;
	*) took=0 ;;
	esac
}

need() {
	local program
	for program in "$@"; do
		type -P "$program" >/dev/null || fail "$program is missing on this machine: install it"
	done
}

# image_version prints the version of the sidecar that patches/ asks a node for.
image_version() { sed -n 's/^ *image: .*:\([^:]*\)$/\1/p' "$root/patches/pod/pod.yaml"; }

# read_settings takes names from the settings unless an option said them.
read_settings() {
	need kubectl jq
	chosen=$(kubectl patch --local --type merge -p '{}' -f "$settings" -o json) ||
		fail "the settings $settings cannot be read, see above: --settings names another file"
	namespace=${namespace:-$(setting namespace)}
	statefulset=${statefulset:-$(setting statefulSet)}
	container=${container:-$(setting container)}
}

# setting KEY prints one of them.
setting() {
	jq -er --arg key "$1" '.data[$key] // empty' <(printf '%s' "$chosen") || fail "the settings $settings do not say $1"
}

# k is kubectl in Vault's namespace, all_k in none.
k() { all_k --namespace "$namespace" "$@"; }
all_k() { kubectl ${context:+--context "$context"} "$@"; }

# What these say was wrong has the words of others in it.
kubectl() { sanitized kubectl "$@"; }
jq() { sanitized jq "$@"; }
sanitized() {
	{
		command "$@" 2>&1 >&3 3>&- | complaints >&2 3>&-
	} 3>&1
}

# complaints copies what was wrong, which is mostly nothing: no jq is started for that.
complaints() {
	local first=""
	if IFS= read -r first || [[ $first ]]; then
		{ printf '%s\n' "$first" && cat; } |
			with_text '$wiped + lines(2000; 30)' -nRr --unbuffered --arg wiped "$(wiped)" || true
	fi
}

# reach checks that the cluster answers, names what is asked for in vain, and
# sets live to the StatefulSet as it is at the start, and pods to their names.
reach() {
	local out i
	read_settings
	# It asks five times what there is.
	out=$(waiting 50 "the cluster to answer" k get namespace "$namespace" -o name --request-timeout 10s 2>&1) ||
		fail "the namespace $namespace cannot be read: $(plain "$out")"
	live=$(k get statefulset "$statefulset" -o json 2>&1) ||
		fail "the StatefulSet $statefulset in $namespace cannot be read: $(plain "$live")"
	live=$(json "$live")
	out=$(field "$live" .spec.replicas) || fail "the StatefulSet $statefulset cannot be read"
	# A number first: bash would evaluate whatever stands in its place.
	[[ $out =~ ^[1-9][0-9]{0,2}$ ]] || fail "the StatefulSet $statefulset has no replicas, or more than 999"
	pods=()
	for ((i = 0; i < out; i++)); do pods+=("$statefulset-$i"); done
	pod=${pods[0]}
}

# sidecar_in POD prints whether the pod has the container: true or false, and nothing where
# there is no such pod.
sidecar_in() {
	k get pod "$1" --ignore-not-found -o json |
		jq -r --arg name "$sidecar" '[.spec.containers[]?, .spec.initContainers[]?] | any(.name == $name)'
}

# in_vault runs a command in Vault's container of a pod, $pod unless VAULT_POD says otherwise.
# Vault's client there has no token that a person left behind, which it would send with each
# request, and goes to client_addr, once that is known.
in_vault() {
	local as=(env -u VAULT_TOKEN -u BAO_TOKEN)
	[[ ! ${client_addr-} ]] || as+=(-u VAULT_AGENT_ADDR -u VAULT_PROXY_ADDR -u VAULT_HTTP_PROXY -u VAULT_SRV_LOOKUP
		-u BAO_AGENT_ADDR -u BAO_PROXY_ADDR -u BAO_HTTP_PROXY -u BAO_SRV_LOOKUP VAULT_ADDR="$client_addr" BAO_ADDR="$client_addr")
	k exec -i "${VAULT_POD:-$pod}" -c "$container" -- "${as[@]}" HOME=/nonexistent "$@"
}

# as_root runs a command there with a token, which it takes from the first line
# of its input: what follows is the command's.
as_root() {
	{
		printf '%s\n' "$token"
		cat
	} | in_vault sh -c 'read -r VAULT_TOKEN; export VAULT_TOKEN; exec "$@"' sh "$@"
}

# vault_status prints Vault's seal status as JSON, however it is.
vault_status() {
	local out code=0
	out=$(in_vault vault status -format=json) || code=$?
	[[ $code == 0 || $code == 2 ]] || return 1 # 2: sealed
	printf '%s\n' "$out"
}

# json TEXT prints the JSON in it: kubectl and Vault warn before it or after it.
json() {
	local text=${1#"${1%%\{*}"}
	printf '%s' "${text%"${text##*\}}"}"
}

# field JSON FILTER prints one field of it.
field() { jq -r "$2" <(printf '%s' "$1"); }

# waiting SECONDS WHAT COMMAND... runs a command that takes a while. Meanwhile it shows
# what is waited for, for how long, and the limit, which the command keeps: at a terminal
# in a line that is written over, elsewhere every 15 seconds, one wait or several.
waiting() {
	local clock ticker wipe="" code=0
	[[ ! -t $screen || ${TERM:-dumb} == dumb ]] || wipe=$'\r\e[K'
	exec {clock}> >(tick "$1" "$2" >&"$screen")
	ticker=$!
	# Where a script lets no Ctrl-C end it, none does.
	[[ ! $wipe || $(trap -p INT) ]] || trap interrupted INT
	"${@:3}" || code=$?
	waited "$wipe"
	return "$code"
}

# tick SECONDS WHAT shows a wait until its input ends, as it does with the script. What is
# wider than the terminal is cut off.
tick() {
	local line what="" began=$SECONDS slot=$((SECONDS / 15))
	until read -r -t 1 || (($? < 128)); do
		what=${what:-$(plain "$2")} # no sooner, for most waits are over by then
		line="$name: waiting $((SECONDS - began)) s, at most $1 s, for $what"
		if [[ $wipe ]]; then
			printf '%s\e[?7l%s\e[?7h' "$wipe" "$line" || true
		elif ((SECONDS / 15 > slot)); then
			slot=$((SECONDS / 15))
			printf '%s\n' "$line" || true
		fi
	done
}

# waited TEXT ends what a wait shows with a text: one that takes the line away, or leaves it.
waited() {
	kill -KILL "$ticker" 2>/dev/null || true # whatever it was to ignore
	wait "$ticker" 2>/dev/null || true
	exec {clock}>&-
	printf %s "$1" >&"$screen" || true
	[[ $(trap -p INT) != *interrupted* ]] || trap - INT
}
interrupted() {
	waited $'\n'
	kill -INT "$BASHPID"
}

# await SECONDS WHAT COMMAND... waits for a command to succeed, which it repeats.
await() { waiting "$1" "$2" again "$1" "${@:3}"; }

# again SECONDS COMMAND... repeats it. What it complains of each time is shown as rarely as
# a wait where there is no terminal.
again() {
	local until=$((SECONDS + $1)) slot=-1
	shift
	until if ((SECONDS / 15 > slot)); then slot=$((SECONDS / 15)) && "$@"; else "$@" 2>/dev/null; fi; do
		((SECONDS < until)) || return 1
		sleep 1
	done
}

# check_threshold SHARES THRESHOLD refuses what Vault would.
check_threshold() {
	if [[ ! $1 =~ ^[1-9][0-9]*$ || ! $2 =~ ^[1-9][0-9]*$ ]] || (($2 > $1)); then
		misused "--shares $1 --threshold $2: accepted are numbers from 1, and no more threshold than shares"
	fi
	(($2 > 1 || $1 == 1)) || misused "--shares $1 --threshold 1: with several shares Vault wants a threshold above 1"
}

# with_shares FILTER is jq with what shares.jq defines, with_pods with pod.jq's,
# with_text with text.jq's.
with_shares() { jq -L "$root/scripts" "${@:2}" "include \"shares\"; $1"; }
with_pods() { jq -L "$root/scripts" "${@:2}" "include \"pod\"; $1"; }
with_text() { command jq -L "$root/scripts" "${@:2}" "include \"text\"; $1"; }

# shares_in prints the shares in a text, each once and one a line, whatever
# shape they come in. The sidecar understands the same shapes.
shares_in() { printf '%s' "$1" | with_shares 'found.shares[]' -Rrs; }

# check_shares says what in a text is no share, and fails for it; a token is
# left out. It shows nothing of what is in the text.
check_shares() {
	printf '%s' "$1" | with_shares 'found | if .flaws > 0 or .shares == [] then remarks("") else empty end' -Rrs |
		tail -n 1 | grep . || return 0
	return 1
}

# check_tokens TEXT warns of a token in a text.
check_tokens() {
	[[ $(printf '%s' "$1" | with_shares 'found.token' -Rs) != true ]] ||
		warn "a token of Vault's is left out: it does not belong in the Secret $secret, which is mounted into Vault's pod"
}

count() { shares_in "$1" | wc -l | tr -d ' '; }

# expectation TEXT prints what check compares the mounted key with: a salt, and the digests
# of the shares in a text with it, which tell nothing of them.
expectation() {
	local salt share digest digests=""
	salt=$(od -An -v -N 16 -tx1 /dev/urandom | tr -d ' \n')
	while IFS= read -r share; do
		digest=$(printf '%s%s' "$salt" "$share" | sha256)
		digests+=,${digest%% *}
	done < <(printf '%s' "$1" | with_shares 'found.shares[] | hex' -Rrs)
	printf '%s:%s' "$salt" "${digests#,}"
}
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; } # the second is macOS's

# secret_value KEY prints what the Secret has under a key; nothing when it is
# not there.
secret_value() {
	k get secret "$secret" --ignore-not-found -o json | jq -r --arg key "$1" '.data[$key] // "" | @base64d'
}

# all_shares prints the shares that the sidecar reads in all entries of the
# Secret, and warns of what is none.
all_shares() {
	local all each
	all=$(k get secret "$secret" --ignore-not-found -o json | with_shares secret)
	[[ $all ]] || return 0
	while IFS= read -r each; do
		warn "the Secret $secret has more than shares in it: $each"
	done < <(field "$all" '.remarks[]')
	field "$all" '.shares[]'
}

# check_keepers fails where somebody keeps the Secret, who would put back what it
# held: the next restart of Vault would find a key that is none any more.
check_keepers() {
	local now who
	now=$(k get secret "$secret" --ignore-not-found -o json --show-managed-fields) || fail "the Secret $secret cannot be read"
	who=$(plain "$(printf '%s' "$now" | jq -L "$root/scripts" -r 'include "keepers"; keepers')")
	[[ $who ]] || return 0
	[[ $trust_secret ]] || fail "the Secret $secret is kept by another, who would put the old key back: $who. Nothing was changed. Change the key where the Secret comes from, or take the Secret out of there first, or say --trust-secret, if you know that nothing puts it back"
	warn "the Secret $secret is changed as you say, and seems to be kept by another: $who"
}

# write_secret KEY TEXT puts a text into the Secret, which is made if need be;
# an empty text takes the key out. So that no key lives on beside it, annotations
# go in which a tool keeps what it wrote, or in which a value stands.
write_secret() {
	local now
	now=$(k get secret "$secret" --ignore-not-found -o json)
	if [[ ! $now ]]; then
		jq -n --arg name "$secret" --arg key "$1" --rawfile text <(printf '%s' "$2") \
			'{apiVersion: "v1", kind: "Secret", metadata: {name: $name}, stringData: {($key): $text}}' | k create -f - >/dev/null
		return
	fi
	[[ $(field "$now" '.metadata.annotations // {} | has("kubectl.kubernetes.io/last-applied-configuration")') != true ]] ||
		warn "kubectl apply keeps the key in an annotation of the Secret $secret too, which is taken out. The file that it was applied from still holds what it held: do not apply it again, and destroy it"
	# With the resourceVersion in it, a change that came in between is refused.
	printf '%s' "$now" | jq --arg key "$1" --rawfile text <(printf '%s' "$2") '
		([$text, (.data // {} | .[] | ., @base64d)] | map(splits("\\s+") | select(length > 15))) as $values |
		if .metadata.annotations then .metadata.annotations |= with_entries(select(
			(.key | IN("kubectl.kubernetes.io/last-applied-configuration", "objectset.rio.cattle.io/applied") | not) and
			(.value as $note | any($values[]; . as $value | $note | contains($value)) | not))) else . end |
		if $text == "" then del(.data[$key]) else .data[$key] = ($text | @base64) end' | k replace -f - >/dev/null
}

# sidecar_status POD prints what the sidecar tells of itself, as JSON.
sidecar_status() { k exec "$1" -c "$sidecar" -- /vault-unseal-sidecar status --output json 2>/dev/null; }

# sidecar_check POD WHAT [OPTION...] prints what the sidecar there finds, as JSON, and fails
# where not all of that is ok. WHAT is what it is asked for.
sidecar_check() {
	waiting 45 "the sidecar of $1 to $2" k exec "$1" -c "$sidecar" -- /vault-unseal-sidecar check "${@:3}" --output json
}

# gate POD prints the status of the readiness gate's condition.
gate() {
	k get pod "$1" -o json --ignore-not-found |
		jq -r '[.status.conditions[]? | select(.type == "vault-unseal-sidecar/unsealed") | .status][0] // "missing"'
}
gate_says() {
	plain "$(k get pod "$1" -o json |
		jq -r '[.status.conditions[]? | select(.type == "vault-unseal-sidecar/unsealed") | .message][0] // "the condition is missing, its log says why: '"kubectl -n $namespace logs $1 -c $sidecar"'"')"
}
gate_open() { [[ $(gate "$1") == True ]]; }

# hopeless POD [REASONS] tells whether the sidecar says what waiting does not
# mend.
hopeless() {
	k get pod "$1" --ignore-not-found -o json | jq -es --arg reasons "${2:-KeyRejected NoKey HeldByOperator NotInitialized}" '
		any(.[0].status.conditions[]?; .type == "vault-unseal-sidecar/unsealed" and .status == "False" and
			(.reason | IN($reasons | split(" ")[])))' >/dev/null
}

# idle POD prints why the sidecar's container does not run, and fails when it
# does.
idle() {
	local why
	why=$(k get pod "$1" --ignore-not-found -o json | jq -ers --arg name "$sidecar" '
		[.[0].status // {} | .containerStatuses[]?, .initContainerStatuses[]? | select(.name == $name) | .state][0] // {} |
		select(.running | not) | .waiting // .terminated // {reason: "it was not made yet"} | [.reason, .message // empty] | join(": ")') || return 1
	plain "$why"
}

# stuck POD does the same when waiting would hardly mend it.
stuck() {
	local why
	why=$(idle "$1") || return 1
	case $why in
	ErrImagePull* | ImagePullBackOff* | ErrImageNeverPull* | InvalidImageName* | CreateContainerConfigError* | CrashLoopBackOff*)
		echo "its container $sidecar does not start: $why (it is tried again more and more rarely; once that is mended, a new pod tries at once: kubectl -n $namespace delete pod $1)"
		;;
	*) return 1 ;;
	esac
}

# held_up POD tells whether that has been so for half a minute: what failed once
# is tried again.
held_up() {
	stuck "$1" >/dev/null || {
		stuck_since=""
		return 1
	}
	: "${stuck_since:=$SECONDS}"
	((SECONDS - stuck_since >= 30))
}

# of_revision POD REVISION tells whether the pod was made from that template.
of_revision() { [[ $(k get pod "$1" --ignore-not-found -o 'jsonpath={.metadata.labels.controller-revision-hash}') == "$2" ]]; }

# holds_shares POD COUNT tells whether the sidecar there has loaded so many.
holds_shares() {
	local now
	now=$(sidecar_status "$1") && [[ $(field "$now" .key_shares) == "$2" ]]
}

# would_run STATEFULSET fails and says in `why` where the cluster would make no pod
# of its template, or its container of ours would not start: a pod that is deleted
# would not come back. What is not certain is in `doubt`. It changes nothing.
would_run() {
	local refusal image policy
	doubt=""
	refusal=$(printf '%s' "$1" | with_pods pod | k create --dry-run=server -o name -f - 2>&1 >/dev/null) || true
	case $refusal in
	"" | *AlreadyExists*) ;;
	*"does not support dry run"*) doubt="whether the cluster would make the new pod cannot be tried: $(plain "$refusal")" ;;
	*)
		[[ $refusal == *"exceeded quota"* ]] && k get pod "$pod" -o json | with_pods 'fits($refusal)' -e --arg refusal "$(plain "$refusal")" >/dev/null || {
			why="the cluster would not make the pod: $(plain "$refusal")"
			return 1
		}
		;;
	esac
	read -r image policy < <(printf '%s' "$1" | with_pods '.spec.template.spec | [.containers[], .initContainers[]?] | map(select(.name == $name))[0] |
		"\(.image // "") \(.imagePullPolicy // "")"' -r --arg name "$sidecar")
	case $(all_k get nodes -o json 2>/dev/null | with_pods 'absent($image)' -r --arg image "$image") in
	yes)
		[[ $policy != Never ]] || {
			why="no node has the image $(plain "$image"), and none may pull it (imagePullPolicy Never)"
			return 1
		}
		doubt+="${doubt:+; }no node has the image $(plain "$image"): without a registry that has it the new pod does not start"
		;;
	perhaps) doubt+="${doubt:+; }no node says that it has the image $(plain "$image"): without a registry that has it the new pod does not start" ;;
	esac
}

# apply_rights COMPONENT... prints the advice to apply components of the rights under the
# names in use, as the sidecar words it.
apply_rights() {
	local there
	there=$(kubectl patch --local --type merge -p '{}' -f "$root/manifests/settings.yaml" -o json) || fail "the settings of manifests cannot be read, see above"
	jq -nr --arg namespace "$namespace" --arg components "$*" --slurpfile there <(printf '%s' "$there") \
		--slurpfile live <(printf '%s' "$live") --slurpfile chosen <(printf '%s' "$chosen") '
		($components / " ") as $all | $there[0].data as $there |
		($chosen[0].data + {$namespace, statefulSet: $live[0].metadata.name, serviceAccount: ($live[0].spec.template.spec.serviceAccountName // "default")}) as $ours |
		["namespace", "statefulSet", "serviceAccount", "esoNamespace", "esoDeployment"] |
		map(select($ours[.] and $ours[.] != $there[.]) | "\(.): \($ours[.])") |
		"run kubectl apply -k manifests with the component\(if $all[1] then "s" else "" end) \($all | join(", "))" +
		if .[0] then ", and in settings.yaml " + join(", ") else "" end'
}

# sidecars STATEFULSET prints ours of the containers in it.
sidecars() { jq -r --arg name "$sidecar" '.spec.template.spec | .containers[], .initContainers[]? | .name | select(. == $name)' <(printf '%s' "$1"); }
