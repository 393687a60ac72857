# An interface of Vault's own tests.
s/\bvault\.HandlerHandler\b/interface{ Handler(*vault.HandlerProperties) http.Handler }/
