# The pod that a StatefulSet's template makes, and whether it would run.

# pod gives the first pod of a StatefulSet, as its controller makes it.
def pod: . as $set | {
	apiVersion: "v1", kind: "Pod",
	metadata: {name: "\(.metadata.name)-0", labels: .spec.template.metadata.labels, annotations: .spec.template.metadata.annotations},
	spec: (.spec.template.spec | .volumes = (.volumes // []) + [$set.spec.volumeClaimTemplates[]?.metadata.name |
		{name: ., persistentVolumeClaim: {claimName: "\(.)-\($set.metadata.name)-0"}}])
};

def quantity: capture("^(?<n>[0-9.]+)(?<unit>[A-Za-z]*)$") | (.n | tonumber) * ({
	"": 1, m: 0.001, k: 1e3, M: 1e6, G: 1e9, T: 1e12, Ki: 1024, Mi: 1048576, Gi: 1073741824, Ti: 1099511627776}[.unit] // nan);

# taken is what a pod takes of a quota's resource.
def taken($resource): .spec as $spec | $resource |
	if IN("pods", "count/pods") then 1 else
		(if startswith("limits.") then ["limits", ltrimstr("limits.")] else ["requests", ltrimstr("requests.")] end) as $path |
		[$spec.containers[].resources | getpath($path) // empty | quantity] | add // 0
	end;

# fits tells of a refusal over a quota whether there is room once the pod that is
# there has gone.
def fits($refusal): . as $old | $refusal | capture("requested: (?<requested>.*), used: (?<used>.*), limited: (?<limited>[^ ]*)") |
	map_values(split(",") | map(split("=") | {(.[0]): (.[1] | quantity)}) | add) |
	. as $quota | all(.requested | keys[]; . as $key | $quota.used[$key] - ($old | taken($key)) + $quota.requested[$key] <= $quota.limited[$key]);

# absent takes the nodes, and says of an image that no node has "yes", or "perhaps"
# where one does not tell of all of its images: it tells of 50.
def absent($image): [.items[].status.images // [] | length] as $counts |
	if any(.items[].status.images[]?.names[]?; . == $image or . == "docker.io/\($image)" or . == "docker.io/library/\($image)") then "no"
	elif all($counts[]; . > 0 and . < 50) then "yes" else "perhaps" end;
