package unseal

// The keys of log fields.
const (
	keyAfter    = "after"    // how long the last phase took
	keyFrom     = "from"     // the last phase
	keyReason   = "reason"   //
	keyAdvice   = "advice"   // what to do
	keyTook     = "took"     // a whole recovery
	keySteps    = "steps"    // its phases
	keyShares   = "shares"   // how many
	keyNeeded   = "needed"   // the threshold
	keyError    = "error"    //
	keyEntries  = "entries"  // of the Secret, and what they look like
	keyVerdict  = "verdict"  // of an answer to an unseal
	keyProgress = "progress" // shares that vault holds
	keyAnswered = "answered" // the kind of an answer
)

// Messages that are not a phase.
const (
	msgKeysLoaded       = "unseal key is usable"
	msgKeysProblem      = "unseal key cannot be used"
	msgTokenMounted     = "a Vault token is mounted with the unseal key"
	msgNotShares        = "mounted entries that are no key shares are not used"
	msgNoState          = "no saved state, a manual seal cannot be distinguished from a restart, so vault will be unsealed"
	msgStateLost        = "state cannot be saved"
	msgNoProcess        = "vault processes cannot be distinguished, a manual seal is held only while vault stays reachable"
	msgRefusedShares    = "vault rejected a combination of shares"
	msgInterfered       = "another client is sending key shares to vault"
	msgJoining          = "vault accepted the key and opens once it has joined its raft cluster"
	msgReleased         = "keys changed, the manual seal is no longer held"
	msgOverruled        = "vault was sealed manually and is unsealed again, as configured"
	msgRecovered        = "recovered"
	msgFlapping         = "vault is flapping, phase changes are logged at debug until one lasts a minute"
	msgAttempt          = "unseal answered"
	msgProved           = "proved that the mounted key opens vault"
	msgKeyStale         = "the mounted key does not open vault any more"
	msgNotProved        = "the mounted key could not be proved"
	msgProofLeftover    = "the proof of the mounted key left something behind"
	msgRekeyNotCanceled = "a rekey that an earlier proof began is not canceled yet"
	msgProbe            = "probe answered"
)

// adviceToken is what to do about a token in the mount.
const adviceToken = "revoke it, take it out of the Secret, and until then mount only the entries that hold shares: items of the Secret's volume"
