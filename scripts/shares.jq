# What a text holds that is to be an entry of the Secret: {shares, token, flaw,
# line, flaws}. The sidecar reads it by the same rules, which are explained
# there (sidecar/internal/keyfile/parse.go, decode.go);
# sidecar/internal/keyfile/testdata/shapes.json tests both.

def whole: . >= 16 and . <= 33;
def hexdigits: test("^[0-9A-Fa-f]+$");

# bytes decodes hex or base64; null when it is neither.
def digits: explode | map(
	if . >= 48 and . <= 57 then . - 48 elif . >= 97 then . - 87 else . - 55 end);
def sextets: explode | map(
	if . == 43 then 62 elif . == 47 then 63 elif . <= 57 then . + 4 elif . <= 90 then . - 65 else . - 71 end);
def bytes:
	if hexdigits and length % 2 == 0 and ((length / 2 | whole) or (length * 3 / 4 | floor | whole | not)) then
		digits | [range(0; length; 2) as $i | .[$i] * 16 + .[$i + 1]]
	elif test("^[A-Za-z0-9+/]+={0,3}$") then
		length as $padded | rtrimstr("=") | rtrimstr("=") | rtrimstr("=") | length as $n |
		if $n % 4 == 1 or $padded - $n > (4 - $n % 4) % 4 then null
		else sextets | . + [0, 0, 0] | [range(0; $n - 1; 4) as $i |
			(.[$i] * 4 + (.[$i + 1] / 16 | floor)),
			(.[$i + 1] % 16 * 16 + (.[$i + 2] / 4 | floor)),
			(.[$i + 2] % 4 * 64 + .[$i + 3])] | .[:($n * 3 / 4 | floor)]
		end
	else null end;

def hex: bytes | map("0123456789abcdef"[(. / 16 | floor):][:1] + "0123456789abcdef"[. % 16:][:1]) | add;

# twice tells whether bytes are the text of a share still.
def twice: all(.[]; . < 128) and (implode | ltrimstr("\n") | split("\n")[0] // "" | gsub("^\\s+|\\s+$"; "") | bytes | . != null and (length | whole));

# kubectl create secret --from-literal=SHARE takes the share for an entry's name, without
# the padding. shown is a name as it may be printed.
def sharelike: any(., . + "==="[:(4 - length % 4) % 4]; bytes | . != null and ((length | whole) or twice));
def shown: if sharelike then "[name withheld, it looks like a share]" else . end;

def tokenform: test("^(hv[sbr]|[sbr]|[sbr]br)\\.[A-Za-z0-9_.-]{20,}$");

# take adds a word.
def refuse($what; $line): .flaws += 1 | if .flaws == 1 then .flaw = $what | .line = $line else . end;
def take($word; $line):
	($word | bytes) as $bytes | ($bytes | length) as $n |
	if $word | tokenform then .token = true
	elif $bytes == null then refuse("neither base64 nor hex"; $line)
	elif ($word | hexdigits and length % 2 == 1) and ($n | whole | not) then refuse("hex with an odd number of digits"; $line)
	elif $bytes | twice then
		refuse("encoded twice, like base64 of base64: decode it once and store the result, `kubectl create secret` and stringData encode by themselves"; $line)
	elif $n < 16 then refuse("too short for a share: \($n) bytes decoded, expected 16 to 33"; $line)
	elif $n > 33 then refuse("too long for a share: \($n) bytes decoded, expected 16 to 33"; $line)
	elif any(.found[]; .bytes == $bytes) then .
	else .found += [{bytes: $bytes,
		text: (if ($word | hexdigits and length % 2 == 0) and $n * 2 == ($word | length) then $word
			else $word | rtrimstr("=") | rtrimstr("=") | . + "==="[:(4 - length % 4) % 4] end)}]
	end;

def words: [splits("[\\s,;\"'`]+") | select(. != "")];
def take_text:
	"^[ \\t]*(?:(?<of>Unseal |Recovery |)Key [0-9]+|(?:Initial )?Root Token):" as $form |
	split("\n") as $lines | any($lines[]; test($form)) as $printed |
	reduce range($lines | length) as $i ({found: [], flaws: 0};
		$lines[$i] as $line | ($line | if test($form) then match($form) else null end) as $m |
		if $m and ($m.string | test("Root Token:$")) then .token = true
		elif $m and ($m.string | test("Recovery ")) then refuse("recovery keys, which do not unseal"; $i + 1)
		elif $m == null and $printed and ($line | words | length) > 1 then .
		else reduce (if $m then $line[$m.length:] else $line end | words[]) as $word (.; take($word; $i + 1)) end);

def take_json:
	. as $text | reduce match("\"((?:[^\"\\\\]|\\\\.)*)\"(\\s*:)?"; "g") as $m ({found: [], flaws: 0, name: null};
		$m.captures[0].string as $value | ($text[:$m.offset] | split("\n") | length) as $line | .name as $name |
		if $m.captures[1].string then .name = $value
		elif $name == null or any("unseal_keys_b64", "unseal_keys_hex", "keys", "keys_base64"; . == $name) then take($value; $line)
		elif $name | startswith("recovery_keys") then refuse("recovery keys, which do not unseal"; $line)
		elif $name == "root_token" and $value != "" or ($value | tokenform) then .token = true
		else . end) |
	if .found == [] and .flaws == 0 then refuse("JSON without unseal keys"; 1) else . end;

def found:
	ltrimstr("\ufeff") | explode | map(if . == 0 then 32 else . end) | implode |
	(if test("^\\s*(\ufffd\ufffd|\ufffe)") then {found: [], flaws: 0} | refuse("saved as UTF-16, save it as plain ASCII"; 1)
	elif test("^\\s*[{\\[]") then take_json
	else take_text end) |
	if .found == [] and .flaws == 0 and (.token | not) then refuse("empty"; 1) else . end |
	{shares: [.found[].text], token: (.token // false), flaw, line, flaws};

# remarks tells what is no share in it, of an entry of that name or none.
def remarks($entry):
	(if .token then "looks like a token of Vault's" else empty end),
	(if .flaws == 0 then empty
	elif .shares == [] and (.token | not) and .flaw != "empty" and ($entry | test("(^|[^a-z])root([^a-z]|token|$)"; "i")) then
		"by its name a root token"
	else (if (.shares | length) + .flaws > 1 then "line \(.line): " else "" end) + .flaw
		+ (if .flaws > 1 then " (and \(.flaws - 1) more)" else "" end)
	end);

# names are those of a Secret's entries, but for a share that is a name: its entry has
# nothing but what is left of the padding.
def names: .data // {} | to_entries | map(select((.key | sharelike) and (.value | @base64d | IN("", "=")) | not) | .key);

# secret tells the same of a whole Secret, in which the same share counts once.
def secret:
	[.data // {} | to_entries | sort_by([(.key | gsub("[0-9]+"; "")), (.key | [scan("[0-9]+") | tonumber]), .key])[] | .key as $entry | .value | @base64d | found |
		.remarks = [remarks($entry) | "\($entry | shown): \(.)"]] |
	{remarks: map(.remarks[]), shares: (reduce .[].shares[] as $share ([];
		if any(.[] | bytes; . == ($share | bytes)) then . else . + [$share] end))};
