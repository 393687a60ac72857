# What the CronJobs leave behind, and which kinds may be removed or brought back
# at all. Names are what others wrote: RBAC takes blanks, newlines and any sign
# but / and %. So they stay JSON from kubectl to kubectl.

# replaced are the kinds that migrate removes and --rollback brings back, granted
# those that --rollback removes. Nothing else is ever removed but Vault's pods.
def rbac: "rbac.authorization.k8s.io" as $group | {Role: $group, RoleBinding: $group, ClusterRole: $group, ClusterRoleBinding: $group};
def replaced: rbac + {CronJob: "batch", ServiceAccount: ""};
def granted: rbac + {ValidatingAdmissionPolicy: "admissionregistration.k8s.io", ValidatingAdmissionPolicyBinding: "admissionregistration.k8s.io",
	NetworkPolicy: "networking.k8s.io", PodMonitor: "monitoring.coreos.com", PrometheusRule: "monitoring.coreos.com"};
def group: if contains("/") then split("/")[0] else "" end;
def among($kinds): $kinds[.kind] == (.apiVersion | group);
# Of ConfigMaps the dashboard is ours.
def removable: among(replaced) or among(granted) or
	(.kind == "ConfigMap" and .apiVersion == "v1" and (.metadata.name | contains("vault-unseal-sidecar-dashboard")));

def id: {apiVersion, kind, metadata: (.metadata | {name} + if .namespace then {namespace} else {} end)};
def key: [.kind, .metadata.namespace, .metadata.name] | tojson;
def keyset(f): reduce (.[] | f) as $key ({}; .[$key] = true);
def list: {apiVersion: "v1", kind: "List", items: .};
def named: "\(.kind) " + (.metadata | if .namespace then "\(.namespace)/" else "" end +
	(.name | if test("[^A-Za-z0-9:._-]") then tojson else . end));

# bare takes out what only the cluster knows.
def bare: del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.generation, .metadata.creationTimestamp,
	.metadata.managedFields, .metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]);

# builtin tells of roles that are of use without a binding.
def builtin: .kind == "ClusterRole" and ((.metadata.name | IN("cluster-admin", "admin", "edit", "view") or startswith("system:")) or .aggregationRule != null or
	(.metadata.labels // {} | keys | any(startswith("rbac.authorization.k8s.io/aggregate-to-") or . == "kubernetes.io/bootstrapping")));

def template: .spec.jobTemplate.spec.template.spec // .spec.template.spec // .spec;
def account: template.serviceAccountName // "default";
# role is the key of the role that a binding names.
def role: [.roleRef.kind, (if .roleRef.kind == "Role" then .metadata.namespace else null end), .roleRef.name] | tojson;

# retired takes all objects that matter, and gives {remove, used, stays}: what
# the CronJobs have to themselves, in the order in which it goes; the accounts
# that others use; and the roles that stay, since what binds them somebody else may
# have made. $known are the accounts of CronJobs that are gone.
def retired($ns; $jobs; $known):
	def job: .kind == "CronJob" and .metadata.namespace == $ns and (.metadata.name | IN($jobs[]));
	map(select(job)) as $cronjobs |
	([$cronjobs[] | account] + $known | unique - ["default"]) as $accounts |
	[.[] | select(.kind | IN("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")) | select(job | not) |
		select((.metadata.ownerReferences // []) | all(.kind != "Job" and .kind != "CronJob")) | account] as $busy |
	($accounts - $busy) as $free |
	def theirs: (.subjects // [] | length > 0) and all(.subjects[];
		.kind == "ServiceAccount" and (.namespace // $ns) == $ns and (.name | IN($free[])));
	map(select(.kind | IN("RoleBinding", "ClusterRoleBinding"))) as $all |
	($all | map(select(theirs))) as $bindings |
	($bindings | keyset(role)) as $bound |
	($all | map(select(theirs | not)) | keyset(role)) as $held |
	($bindings | map(select(.kind == "ClusterRoleBinding" or .metadata.namespace == $ns)) | keyset(role)) as $near |
	# A role goes with its last binding.
	map(select(.kind | IN("Role", "ClusterRole")) | select(builtin | not) | select($bound[key] and ($held[key] | not))) as $roles |
	($roles | map(select(.kind == "Role" or $near[key]))) as $going |
	{
		remove: ($cronjobs + $going + $bindings + map(select(.kind == "ServiceAccount" and .metadata.namespace == $ns and (.metadata.name | IN($free[]))))),
		used: ($accounts - $free),
		stays: ($roles - $going | map(named))
	};

# added and common take two of these: what only the second removes, and what
# both do.
def added: (.[0].remove | keyset(key)) as $before | .[1].remove | map(select($before[key] | not));
def common: (.[1].remove | keyset(key)) as $now | .[0].remove | map(select($now[key]));
