package kube

// The keys of log fields.
const (
	keyAdvice = "advice" // what to do
	keyError  = "error"
	keyWhat   = "what"     // was asked of the Kubernetes API
	KeyAgain  = "again_in" // the wait until then
)

// The messages.
const (
	msgFails      = "kubernetes API request failed, retrying"
	msgWorksAgain = "kubernetes API request succeeded again"
	MsgPanicked   = "kubernetes part failed, restarting it"
)

// AdvicePanicked is given of a panic. Whatever it was, the core goes on.
const AdvicePanicked = "vault is unsealed all the same; please report this line"
