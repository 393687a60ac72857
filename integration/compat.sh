#!/usr/bin/env bash
# Runs the main scenarios against each Vault in bin/servers/compat and the one
# that all tests run against, and prints what became of them as the README's
# table. What a failed run printed is kept in bin/compat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
logs=$PWD/../bin/compat

# what the table calls it | the test
scenarios=(
	"recovery|TestRecovery_RefusedConnections"
	"hung unseal|TestRecovery_HungUnseal"
	"wrong key|TestKeys_WrongKeyIsReplacedByRightOne"
	"seal by hand|TestOperatorSeal_IsHeld"
	"raft|TestRaft_SingleNodeRecovers"
	"three on raft|TestRaft_ThreeReplicasAreUnsealed"
	"proof|TestProof_KeyIsVerifiedWhileUnsealed"
)

mkdir -p "$logs"
go test -c -o "$logs/integration.test" .
tests=$(printf '|%s' "${scenarios[@]##*|}")
head="| Vault |" line="|---|" failed=0
for each in "${scenarios[@]}"; do
	head+=" ${each%%|*} |" line+="---|"
done
table=$head$'\n'$line
for version in $(cd ../bin/servers/compat && printf '%s\n' */ | tr -d / | sort -V) ""; do
	name=${version:-$(awk '$1 == "github.com/hashicorp/vault" { print substr($2, 2) }' servers/vault/go.mod)}
	echo "compat: running against Vault $name ..." >&2
	VAULT_VERSION=$version "$logs/integration.test" -test.v -test.timeout 10m \
		-test.run "^(TestVault_IsOfTheRequestedVersion$tests)\$" >"$logs/$name.log" 2>&1 || failed=1
	grep -q "^--- PASS: TestVault_IsOfTheRequestedVersion " "$logs/$name.log" || {
		echo "compat: that is not Vault $name, or it does not start: see bin/compat/$name.log" >&2
		exit 1
	}
	table+=$'\n'"| $name |"
	for each in "${scenarios[@]}"; do
		if grep -q "^--- PASS: ${each##*|} " "$logs/$name.log"; then table+=" ok |"; else table+=" fails |"; fi
	done
done
echo "$table"
((!failed)) || echo "compat: what failed is in bin/compat" >&2
exit "$failed"
