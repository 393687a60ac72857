package eso

// The keys of log fields.
const (
	keyAdvice    = "advice" // what to do
	keyError     = "error"
	keyCount     = "count"     // of objects
	keyLeft      = "left"      // objects that are not Ready
	keyNamespace = "namespace" // in which much is left
	keyPod       = "pod"
	keyReady     = "ready" // a store that is
	keyReason    = "reason"
	keyStore     = "store" // kind and name
	keyTook      = "took"  // since Vault served, or a store was down
)

// The messages.
const (
	msgStoreDown   = "store is not ready"
	msgStoreUp     = "store is ready"
	msgFlapping    = "stores are flapping, their changes are logged at debug until they are calm"
	msgWoken       = "requested a resync of what external-secrets failed to sync"
	msgRecovered   = "external-secrets has recovered"
	msgLeft        = "secrets still fail to sync after the recovery, not caused by the outage"
	msgNotReady    = "store stays not ready, not caused by the outage"
	msgEvicted     = "evicted the external-secrets controller"
	msgSpared      = "external-secrets works with another store of this vault, it is not evicted"
	msgMemoryFails = "the eviction is not remembered across a restart"
	msgNotEvicted  = "the external-secrets controller is not evicted"
	msgNoESO       = "external-secrets not found, no resync is requested"
	msgForeign     = "store that stays not ready uses another vault, or one not known to be this one"
	msgUnknownName = "store named in the options does not exist"
	msgTooMany     = "too many stores, one is ignored"
	msgTooManyLeft = "too many failed syncs, the rest is left to external-secrets"
	msgElsewhere   = "store ignored, it uses a service of another namespace"
)

// AdviceElsewhere is given of a store that is left alone.
const AdviceElsewhere = "if that Service leads to this vault, name the store in --eso-stores, with all others to manage"
