# Who keeps a Secret, and would put back what it held.

def marks: [
	{who: "Argo CD", keys: ["argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"]},
	{who: "Flux", keys: ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"]},
	{who: "Helm", keys: ["meta.helm.sh/release-name"]},
	{who: "Argo CD or Helm", keys: ["app.kubernetes.io/instance"]},
	{who: "External Secrets", keys: ["reconcile.external-secrets.io/managed", "reconcile.external-secrets.io/data-hash"]},
	{who: "Sealed Secrets", keys: ["sealedsecrets.bitnami.com/managed", "sealedsecrets.bitnami.com/sealed-secrets-key"]},
	{who: "Rancher Fleet", keys: ["objectset.rio.cattle.io/id", "objectset.rio.cattle.io/hash"]},
	{who: "Kyverno", keys: ["generate.kyverno.io/policy-name", "generate.kyverno.io/rule-name"]},
	{who: "Reflector", keys: ["reflector.v1.k8s.emberstack.com/reflects"]},
	{who: "Replicator", keys: ["replicator.v1.mittwald.de/replicated-from", "replicator.v1.mittwald.de/replicate-from"]}
];

# byhand are the field managers of tools with which a person writes: they put
# nothing back.
def byhand: test("^(kubectl(-.*)?|k9s|Lens|OpenLens|Freelens|node-fetch|Mozilla|headlamp|dashboard|oc|curl)$");

# keepers names them, each with what gives it away.
def keepers: .metadata |
	((.labels // {}) + (.annotations // {})) as $notes |
	[
		((.ownerReferences // [])[] | "\(.kind) \(.name), its owner"),
		(marks[] | .who as $who | first(.keys[] | select($notes[.]) | "\($who) (\(.)=\($notes[.]))")),
		(if $notes["app.kubernetes.io/managed-by"] then "\($notes["app.kubernetes.io/managed-by"]) (app.kubernetes.io/managed-by)" else empty end),
		((.managedFields // [])[] | select(.fieldsV1 | has("f:data") or has("f:stringData")) | .manager // "" | select(. != "" and (byhand | not)) | "the field manager \(.)")
	] | unique | join("; ");
