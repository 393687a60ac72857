package policy

// The keys of log fields.
const (
	keyAdvice    = "advice"    // what to do
	keyManifests = "manifests" // of rights
	keyOn        = "on"        // what a dry run was let through
)

// The messages.
const (
	msgRestricted   = "admission policies restrict what the manifests grant"
	msgUnrestricted = "no admission policy restricts what a manifest grants"
)
