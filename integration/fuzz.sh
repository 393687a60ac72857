#!/usr/bin/env bash
# Fuzzes each target of the program, one after another, and splits among them the
# time that is given in all. The targets are those that go test finds. What a run
# printed is kept in bin/fuzz, an input that fails in testdata/fuzz of the package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=$PWD/bin/fuzz

if ! [[ ${1-} =~ ^(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?$ ]] || [[ -z ${1-} ]]; then
	echo "fuzz: FUZZ is a time such as 10m, 1h30m or 90s" >&2
	exit 2
fi
part() { echo $((10#${BASH_REMATCH[$1]:-0})); }
seconds=$(($(part 2) * 3600 + $(part 4) * 60 + $(part 6)))

# Names come before the package that has them.
listed=$(go test -list '^Fuzz' ./sidecar/...)
mapfile -t targets < <(awk '/^Fuzz/ { names = names " " $1; next }
	{ split(names, each, " "); for (i = 1; i in each; i++) print $2, each[i]; names = "" }' <<<"$listed")
time=$((seconds / ${#targets[@]}))
((time > 0)) || time=1
echo "fuzz: ${#targets[@]} targets, $time s each"

mkdir -p "$logs"
failed=()
for target in "${targets[@]}"; do
	read -r package name <<<"$target"
	target=${package##*/}/$name # two packages have a FuzzAnswer
	log=$logs/${target/\//-}.log
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "${time}s" "$package" >"$log" 2>&1; then
		echo "fuzz: $target: $(sed -n 's/^fuzz: elapsed: \(.*\) ([0-9]*\/sec)/\1/p' "$log" | tail -n 1)"
	else
		cat "$log"
		failed+=("$target")
	fi
done
((${#failed[@]} == 0)) || {
	echo "fuzz: failed: ${failed[*]}; each input is in testdata/fuzz, where go test runs it from now on" >&2
	exit 1
}
