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
	msgFails        = "the kubernetes API does not do what it is asked, trying again"
	msgWorksAgain   = "the kubernetes API does what it is asked again"
	msgWritten      = "condition written"
	msgStoreDown    = "a store is not ready, waking it"
	msgStoreUp      = "the store is ready"
	msgWoken        = "woke what external-secrets failed to sync"
	msgRecovered    = "external-secrets has recovered"
	msgLeft         = "some secrets are still not synced, which is not the outage"
	msgNotReady     = "a store does not get ready, which is not the outage"
	msgEvicted      = "evicted the external-secrets controller"
	msgSpared       = "external-secrets works with another store of this vault, it is not evicted"
	msgNotEvicted   = "the external-secrets controller is not evicted"
	msgNoESO        = "external-secrets is not found, nothing is woken"
	msgForeign      = "a store that does not get ready uses another vault, or one that cannot be told to be this one"
	msgUnknownName  = "a store that was named does not exist"
	msgPanicked     = "the part that speaks to kubernetes has failed, it starts again"
	msgTooMany      = "there are more stores than can be looked after, one is left out"
	msgTooManyLeft  = "more has failed to sync than can be woken at once, the rest is left to external-secrets"
	msgElsewhere    = "a store is left alone, it uses a service of another namespace"
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
