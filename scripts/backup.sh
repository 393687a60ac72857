# shellcheck shell=bash disable=SC2016,SC2154
# What migrate saves before it removes anything, and how it removes. It is
# sourced by migrate.
#
# The folder may hold a key, if a CronJob had it in its template, and what is in
# it is applied by a cluster's administrator. So it is the caller's own, and only
# files of known names are read, and only objects of known kinds (rights.jq).

with_rights() { jq -L "$root/scripts" "${@:2}" "include \"rights\"; $1"; }

# only_mine FILE refuses a file or folder that somebody else could have written.
only_mine() {
	[[ ! -L $1 ]] || fail "$backup${1#.} is a symbolic link, which migrate does not follow: name the folder itself with --backup"
	[[ -O $1 ]] || fail "$backup${1#.} is another user's, who could have put anything there: look at what is in it and make it yours (chown -R), or name another folder with --backup"
	[[ ! $(find "$1" -prune \( -perm -020 -o -perm -002 \)) ]] ||
		fail "others may write $backup${1#.}, and could have put anything there: look at what is in it, then chmod -R go= $backup, or name another folder with --backup"
}

# in_backup COMMAND... runs a command in the folder, which stays the one that was
# looked at.
in_backup() {
	(
		[[ ! -L $backup && -d $backup ]] || fail "$backup is not a folder, or a symbolic link to one: name a folder with --backup"
		CDPATH="" cd -P -- "$backup" || fail "$backup cannot be entered"
		only_mine .
		[[ ! $(find . -prune \( -perm -040 -o -perm -004 \)) ]] ||
			warn "others may read $backup, and with it a key, if a CronJob had one in it: chmod -R go= $backup"
		[[ $dry_run ]] || chmod 700 .
		"$@"
	)
}

# known_files sets files to what migrate itself wrote, now or in an earlier form:
# a file for each object.
known_files() {
	local file
	files=()
	for file in ./objects.json ./cronjob-*.json ./account-*.json ./right-*.json ./role-*.json; do
		[[ -e $file || -L $file ]] || continue
		only_mine "$file"
		[[ -f $file ]] || fail "$backup/${file#./} is no file"
		files+=("$file")
	done
}

# saved_objects prints what is saved, as a JSON array.
saved_objects() { if [[ -e $backup || -L $backup ]]; then in_backup saved_here; else echo '[]'; fi; }
saved_here() {
	local files
	known_files
	((${#files[@]})) || {
		echo '[]'
		return
	}
	cat "${files[@]}" | with_rights 'map(if .kind == "List" then .items[] else . end) | map(select(among(replaced) and (builtin | not)) | bare) | unique_by(id)' -s
}

# saved_rights prints what was granted, as a JSON array.
saved_rights() { in_backup rights_here; }
rights_here() {
	local file
	for file in ./rights.json ./rights.yaml; do
		[[ ! -e $file && ! -L $file ]] || {
			only_mine "$file"
			as_json <"$file"
		}
	done | rights_in
}
# as_json turns YAML into JSON, without a cluster.
as_json() { kubectl patch --local --type merge -p '{}' -f - -o json; }
rights_in() { with_rights 'map(if .kind == "List" then .items[] else . end | id) | unique' -s; }

# write_backup OBJECTS RIGHTS adds to what is saved. What is saved already stays as it is.
write_backup() {
	[[ -e $backup || -L $backup ]] || mkdir -p -- "$backup" || fail "the folder $backup cannot be made"
	in_backup write_here "$@"
}
write_here() {
	local objects rights
	objects=$(saved_here)
	rights=$(rights_here)
	echo '*' >.gitignore
	printf '%s\n' "$objects" "$1" | with_rights 'add | unique_by(id) | list' -s >objects.json.new
	printf '%s\n' "$rights" "$2" | with_rights 'add | unique | list' -s >rights.json.new
	mv objects.json.new objects.json
	mv rights.json.new rights.json
	chmod 600 objects.json rights.json .gitignore
}

# left_alone prints the files in the folder that a rollback does not read.
left_alone() {
	local file
	for file in ./* ./.[!.]*; do
		case ${file#./} in
		objects.json | rights.json | rights.yaml | cronjob-*.json | account-*.json | right-*.json | role-*.json | .gitignore) ;;
		*) [[ ! -e $file && ! -L $file ]] || plain "${file#./}" ;;
		esac
	done
}

# remove deletes the objects in a JSON array. They are named by JSON, never by
# words; and what holds one back (a finalizer) holds back nothing else.
remove() {
	local objects
	objects=$(with_rights 'map(select(removable) | id) | if . == [] then empty else list end' -c)
	[[ ! $objects ]] || printf '%s' "$objects" | all_k delete --ignore-not-found --wait=false -f - >/dev/null
}
