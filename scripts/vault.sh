# shellcheck shell=bash disable=SC2034,SC2154
# How the scripts ask Vault with a token and without, and have it try a key. It
# is sourced by lib.sh.
#
# Vault from 2.0 answers 403 to sys/rekey and sys/generate-root without a token
# that may. OpenBao from 2.5 answers 405 to all, and takes sys/rotate/root with
# a token. Others want none.

token="" token_file="" input="" why="" rekey=sys/rekey

token_help='  --token-file FILE    with a token of yours, for a server that wants one; - is
                       standard input. Without it a terminal is asked'

# take_input keeps the standard input for what is typed or piped in, so that
# nothing that is run takes it away, and takes the token from --token-file.
take_input() {
	exec {input}<&0 </dev/null
	case $token_file in
	"") return ;;
	-) IFS= read -r -u "$input" token || [[ $token ]] || fail "--token-file -: there is no token on standard input" ;;
	*) IFS= read -r token <"$token_file" || [[ $token ]] || fail "--token-file $token_file: there is no token in it" ;;
	esac
	check_token || fail "--token-file $token_file: its first line is no token"
}

check_token() {
	token=${token%$'\r'}
	[[ $token =~ ^[A-Za-z0-9._-]+$ ]]
}

# typed WHAT reads a line that is not shown, into `line`.
typed() {
	IFS= read -rs -u "$input" -p "$1" line || line=""
	echo >&2
}

# need_token sees to it that there is a token, and fails when none can be had.
need_token() {
	local line
	[[ ! $token ]] || return 0
	[[ -t $input ]] || {
		why+=": give one with --token-file FILE (- is standard input)"
		return 1
	}
	warn "$why"
	typed "Token (not shown): "
	token=$line
	check_token || {
		token="" why+=", and what was typed is none"
		return 1
	}
}

# with_token runs a command in Vault's container, with the token if there is one.
with_token() { if [[ $token ]]; then as_root "$@"; else in_vault "$@"; fi; }

# ask COMMAND... does the same and sets `out` to its answer, or to what was
# wrong. It does without the token when tokenless is set.
ask() {
	if out=$(if [[ ${tokenless-} ]]; then in_vault "$@"; else with_token "$@"; fi 2>&1); then
		out=$(json "$out")
		return 0
	fi
	out=$(plain "$(sed '/^$/d; /^ *command terminated/d' <(printf '%s\n' "$out"))")
	return 1
}
denied() { [[ $out == *"Code: 403"* ]]; }
closed() { [[ $out == *"Code: 405"* ]]; }

# open_rekey finds the way on which this Vault takes a rekey, first without a
# token, which is then forgotten. It fails where there is none, and says in `why`
# what is open.
open_rekey() {
	local out
	rekey=sys/rekey
	stay_local || return 1
	! tokenless=yes ask vault read -format=json $rekey/init || {
		token=""
		return 0
	}
	if denied; then
		why="Vault takes a rekey only with a token that may (403 at sys/rekey)"
	elif closed; then
		rekey=sys/rotate/root
		why="Vault has closed sys/rekey for good (405), and takes a rekey at sys/rotate/root, with a token that may"
	else
		why="Vault does not tell whether a rekey is under way: $out"
		return 1
	fi
	need_token || {
		[[ $rekey != sys/rekey ]] || why+=", or let it do without: enable_unauthenticated_access = [\"rekey\"] in Vault's configuration"
		return 1
	}
	vault_listens || return 1
	ask vault read -format=json $rekey/init || {
		why="Vault does not take a rekey at $rekey with this token: $out"
		return 1
	}
}

# rekey_status prints what is under way, as JSON. A nonce goes into commands that
# are shown, so it must look like one.
rekey_status() { with_token vault read -format=json $rekey/init | jq -e '.data | select(.nonce // "" | test("[^A-Za-z0-9-]") | not)'; }

# start_rekey SHARES THRESHOLD begins a rekey that takes effect only when it is
# verified, and sets nonce. Vault answers with the one that is under way: where
# somebody has put another in its place by then, it is not gone on with.
start_rekey() {
	local answer
	# printf would print what is no number.
	[[ "$1 $2" =~ ^[1-9][0-9]{0,2}\ [1-9][0-9]{0,2}$ ]] || {
		warn "Vault does not tell in numbers how many shares it has, and wants"
		return 1
	}
	answer=$(printf '{"secret_shares": %d, "secret_threshold": %d, "require_verification": true}' "$1" "$2" |
		with_token vault write -format=json $rekey/init -) || return 1
	[[ $(jq -r --argjson n "$1" --argjson t "$2" '.data | .verification_required == true and .n == $n and .t == $t and
		.progress == 0 and .backup != true and (.pgp_fingerprints // [] | length) == 0' <(printf '%s' "$answer")) == true ]] || {
		warn "somebody else's rekey took the place of ours: see who, and end it with $(by_hand "$(field "$answer" .data.nonce)")"
		return 1
	}
	nonce=$(field "$answer" .data.nonce)
	[[ $nonce =~ ^[A-Za-z0-9-]+$ ]]
}

# stop_rekey NONCE ends it, which changes nothing. Of the two ways to send the
# nonce each server reads its own.
stop_rekey() {
	if [[ $rekey == sys/rekey ]]; then
		with_token vault operator rekey -cancel -nonce="$1" >/dev/null
	else
		with_token vault delete $rekey/init nonce="$1" >/dev/null
	fi
}

# still_listens NONCE says in `why`, where it is not Vault any more that listens, what is left
# of a rekey: its end would send the token too.
still_listens() { [[ ! $token ]] || vault_listens || ! why+=". A rekey may be under way: $(by_hand "$1")"; }

complete() { [[ $(field "$1" '.data.complete // false' 2>/dev/null) == true ]]; }

# by_hand NONCE prints the command that ends a rekey. Who listens may not be Vault, and a
# person is to run it.
by_hand() {
	local nonce=$1
	[[ $nonce =~ ^[A-Za-z0-9-]{1,64}$ ]] || nonce=NONCE
	if [[ $rekey == sys/rekey ]]; then echo "vault operator rekey -cancel -nonce=$nonce"; else echo "vault delete $rekey/init nonce=$nonce"; fi
}

# vault_listens fails, and says so in `why`, where the sidecar beside Vault would send the
# process that listens there no key, or does not reach Vault: the client in Vault's container
# goes to whoever has the port. A pod without a sidecar has nobody to ask.
vault_listens() {
	local at=${VAULT_POD:-$pod} found text said
	stay_local || return 1
	found=$(sidecar_in "$at") || found=""
	[[ $found != false ]] || return 0
	[[ $found ]] || {
		why="whether $at has a sidecar cannot be seen"
		return 1
	}
	# What only Kubernetes knows would take seconds, and no login is needed.
	found=$(sidecar_check "$at" "see who listens" ${client_addr:+--vault-addr "$client_addr"} \
		--kubernetes off --kubeconfig "" --prove-role "" 2>&1) || true # worse than ok
	text=$(json "$found")
	said=$(jq -er '[.findings[].text] | select(length > 0) | (map(select(startswith("the sidecar would not send the key"))) +
		map(select(startswith("vault does not answer as expected"))))[0] // ""' <(printf '%s' "$text") 2>/dev/null) ||
		said="the sidecar of $at does not say whose process listens at Vault's address: $(plain "$found")"
	[[ $said ]] || return 0
	why=$(plain "$said")
	return 1
}

# stay_local sets client_addr, where the client in Vault's container goes over loopback in
# plain text, to one address: localhost may be two, and somebody else may listen at the one at
# which the sidecar does not look. It stays empty where it is to go elsewhere. OpenBao's client
# has names of its own for Vault's variables.
stay_local() {
	local addr
	[[ ! ${client_addr+set} ]] || return 0
	addr=$(in_vault sh -c 'printf %s "${VAULT_AGENT_ADDR:-${BAO_AGENT_ADDR:-${BAO_ADDR:-${VAULT_ADDR-}}}}"') || {
		why="the environment of the container $container cannot be read, see above"
		return 1
	}
	client_addr=""
	[[ ${addr,,} =~ ^http://(localhost\.?|\[::1\]|127(\.[0-9]{1,3}){3})(:[0-9]+)?/?$ ]] || return 0
	client_addr=http://${BASH_REMATCH[1]/#localhost*/127.0.0.1}${BASH_REMATCH[3]}
}

# give NONCE TEXT [STEP] sends the shares in a text one after another until
# Vault has enough, and prints its last answer. It fails with 1 when they are not
# the key or too few, and with 2, and Vault's words, when Vault did not judge them.
give() {
	local share answer="" words="" why
	vault_listens || {
		echo "$why" >&2
		return 2
	}
	while IFS= read -r share; do
		# With a threshold of 1 each line may be a key of its own.
		answer=$(printf '{"key": "%s", "nonce": "%s"}' "$share" "$1" | with_token vault write -format=json "$rekey/${3:-update}" - 2>&1) || {
			[[ $answer == *"invalid key"* && $answer != *"invalid key size"* ]] || words=$answer
			answer=""
			continue
		}
		answer=$(json "$answer")
		! complete "$answer" || break
	done < <(shares_in "$2")
	if complete "${answer:-{\}}"; then
		printf '%s' "$answer"
	elif [[ $words ]]; then
		plain "$words" >&2
		return 2
	else
		return 1
	fi
}

# proves TEXT SHARES THRESHOLD tells whether the shares in a text are Vault's
# key: a rekey takes no other. The newest may be the last: it tries them from
# there too. 2: that could not be found out, and `why` says why.
proves() {
	local order status
	open_rekey || return 2
	status=$(rekey_status) || {
		why="Vault does not tell whether a rekey is under way"
		return 2
	}
	[[ $(field "$status" .started) == false ]] || {
		why="a rekey is under way in Vault: wait for it, or end it with $(by_hand "$(field "$status" .nonce)")"
		return 2
	}
	for order in "$1" "$(printf '%s\n' "$1" | sed '1!G;h;$!d')"; do
		start_rekey "$2" "$3" || {
			why="Vault begins no rekey"
			return 2
		}
		trap '{ still_listens "$nonce" && stop_rekey "$nonce"; } || warn "a rekey may be under way: $(by_hand "$nonce")"' EXIT
		status=0
		why=$(give "$nonce" "$order" 2>&1 >/dev/null) || status=$?
		trap - EXIT
		((status < 2)) || still_listens "$nonce" || return 2
		stop_rekey "$nonce" || fail "the rekey $nonce could not be ended: $(by_hand "$nonce")"
		((status == 1)) || return "$status"
	done
	return 1
}
