package unseal

import "time"

// ProofResult is what a proof of the mounted key came to.
type ProofResult string

// The results of a proof.
const (
	ProofValid   ProofResult = "valid"   // Vault would open with the mounted key
	ProofInvalid ProofResult = "invalid" // it would not
	ProofRefused ProofResult = "refused" // this Vault does not let it be proved
	ProofBusy    ProofResult = "busy"    // a rekey of somebody else's is under way
	ProofFailed  ProofResult = "failed"  // it came to no end
)

// Proof tells whether the mounted key is still the one that opens Vault.
type Proof struct {
	At     time.Time
	Result ProofResult
	Reason string // in words, when it is not valid; holds nothing of a key
}
