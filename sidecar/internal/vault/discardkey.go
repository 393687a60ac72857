//go:build linux

package vault

// discardPGPKey is the OpenPGP key, in base64, that Vault encrypts the new share of a
// proof's rekey to. Nobody can decrypt it: the modulus of its encryption key is
// RSA-2048 of the RSA Factoring Challenge, a published number whose factors
// nobody knows. So whatever becomes of such a rekey, and whoever else takes part
// in it, it can never be verified, and Vault never takes the new key.
const discardPGPKey = "" +
	"xjMEaVW5ABYJKwYBBAHaRw8BAQdAwFC5M8UPeirI+wUJHCen/QaXPtLNxr2x5qoDviJvJDXNNG5vYm9keSAodmF1bHQtdW5z" +
	"ZWFsLXNpZGVjYXI6IG5vIHByaXZhdGUga2V5IGV4aXN0cynCvQQTFggAbwWCaVW5AAILBwkQ9X35XlyBmdI1FAAAAAAAHAAQ" +
	"c2FsdEBub3RhdGlvbnMub3BlbnBncGpzLm9yZ3tSL8ULD1z0ieHz0WCr1U8CFQgCFgACGQECmwMCHgEWIQRSS3dpidMvqLiD" +
	"CSX1ffleXIGZ0gAABKAA/isn4mhYIvKvgXaDAo0FcBlrJfi2l5J979t7qI9w6M9QAQD4aT5D4Ui+ccrbcw2NWN+jVx7VUKbA" +
	"2Xc9IK8yJHkJD87ATQRpVbkAAQgAx5cM7tzDsHVEkCAaeqYTzXOREIHHkPXxqHJvRjVQu1t/8NuOHqEYnscvk9FlABG9chru" +
	"rMKs3jKgQQfwZIwoE6MfWwt3Zf+LRLS2/8kzhLZG6wnHz16FktQOozyAA581tPFKBLUfe/14G+TRZzFkuo65kcLE1zC7vjX1" +
	"kr3vUkr36Nrv0mxm/ALEea+J1k03P0QnCUOd5mzrlV8+o31RWfYTWAn4UzS1yxgTrdyAzQVgnxCsapWtZYcskJUlva0yvHKV" +
	"kmQpIPJMYdxbPDt5I+VrFqTZ03PYch8ko/wPGzEx9VYVFyhmvMww+VBUyCTnM6XraBf3vBY5nUjGNhzH5QARAQABwq4EGBYI" +
	"AGAFgmlVuQAJEPV9+V5cgZnSNRQAAAAAABwAEHNhbHRAbm90YXRpb25zLm9wZW5wZ3Bqcy5vcmfB8UeHz7eTbXmNobsC1Heb" +
	"ApsMFiEEUkt3aYnTL6i4gwkl9X35XlyBmdIAAGKXAQD1lUbAi+6fcvjSn5TO2GNJ3a0GX1+gwkoHuSSMu2JpQgEAl44S5HZt" +
	"GyGT0f61KAKZKuVhm4b4g4W0ZGgUUh64vw4="

// discardPGPFingerprint is how Vault names that key, and so a rekey of ours.
const discardPGPFingerprint = "524b776989d32fa8b8830925f57df95e5c8199d2"
