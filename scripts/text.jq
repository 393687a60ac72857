# Names and messages that others wrote, made fit for a terminal.

# visible takes out what a terminal acts on or does not show: control
# characters but the tab, and what turns the direction or has no width. It cuts
# what no line of ours is as long as.
def cut($most): if length > $most then .[:$most] + " ..." else . end;
def visible: cut(4000) | explode | map(
	if . == 9 or . == 10 then .
	elif . < 32 or (. >= 127 and . < 160) or . == 173 or . == 1564 or . == 6158 or
		(. >= 8203 and . <= 8207) or (. >= 8232 and . <= 8238) or (. >= 8288 and . <= 8303) or
		. == 65279 or (. >= 65529 and . <= 65531) or (. >= 917504 and . <= 917631) then 32
	else . end) | implode;

# oneline makes one line of a text.
def oneline($most): cut(4 * $most) | visible | [splits("[\n\t ]+") | select(. != "")] | join(" ") | cut($most);

# lines reads all lines and gives so many of them, set off from what a script
# says itself.
def lines($most; $count): foreach inputs as $line (0; . + 1;
	if . <= $count then $line | cut($most) | "  " + visible elif . == $count + 1 then "  ..." else empty end);
