package kube

// The keys of log fields.
const (
	keyAdvice    = "advice"    // what to do
	keyCount     = "count"     // of objects
	keyError     = "error"     //
	keyLeft      = "left"      // objects that are not Ready
	keyOn        = "on"        // what a dry run was let through
	keyPod       = "pod"       //
	keyReady     = "ready"     // a store that is
	keyReason    = "reason"    //
	keyStore     = "store"     // kind and name
	keyTook      = "took"      // since Vault served, or a store was down
	keyCondition = "condition" // its type
	keyNamespace = "namespace" // in which much is left
	keyStatus    = "status"    // of a condition
	keyAgain     = "again_in"  // the wait until then
	keyManifests = "manifests" // of rights
	keyWhat      = "what"      // was asked of the Kubernetes API
)

// The messages.
const (
	msgFails        = "kubernetes API request failed, retrying"
	msgWorksAgain   = "kubernetes API request succeeded again"
	msgWritten      = "condition written"
	msgStoreDown    = "store is not ready, requesting a resync"
	msgStoreUp      = "store is ready"
	msgWoken        = "requested a resync of what external-secrets failed to sync"
	msgRecovered    = "external-secrets has recovered"
	msgLeft         = "secrets still fail to sync after the recovery, not caused by the outage"
	msgNotReady     = "store stays not ready, not caused by the outage"
	msgEvicted      = "evicted the external-secrets controller"
	msgSpared       = "external-secrets works with another store of this vault, it is not evicted"
	msgNotEvicted   = "the external-secrets controller is not evicted"
	msgNoESO        = "external-secrets not found, no resync is requested"
	msgForeign      = "store that stays not ready uses another vault, or one not known to be this one"
	msgUnknownName  = "store named in the options does not exist"
	msgPanicked     = "kubernetes part failed, restarting it"
	msgTooMany      = "too many stores, one is ignored"
	msgTooManyLeft  = "too many failed syncs, the rest is left to external-secrets"
	msgElsewhere    = "store ignored, it uses a service of another namespace"
	msgRestricted   = "admission policies restrict what the manifests grant"
	msgUnrestricted = "no admission policy restricts what a manifest grants"
)

// adviceElsewhere is given of a store that is left alone.
const adviceElsewhere = "if that service leads to this vault, name the store in --eso-stores, with all others that are to be looked after"

// advicePanicked is given of a panic. Whatever it was, the core goes on.
const advicePanicked = "vault is unsealed all the same; please report this line"

// The manifests that grant what is asked for.
const (
	grantsGate     = "manifests/gate"
	grantsStores   = "manifests/stores"
	grantsSecrets  = "manifests/externalsecrets"
	grantsEviction = "manifests/eviction"
	grantsMore     = "manifests/more"
)
