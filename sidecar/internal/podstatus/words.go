package podstatus

// The keys of log fields.
const (
	keyReason    = "reason"
	keyCondition = "condition" // its type
	keyStatus    = "status"    // of a condition
)

// The messages.
const (
	msgWritten = "condition written"
)
