# Vault 1.14.10 was built with an sdk of which only its two neighbors were
# published: what it calls by an earlier name, and the body that it keeps. The
# one that is taken also panics over paths that only Vault Enterprise serves.
s/pluginEventBus) Send(/pluginEventBus) SendEvent(/
s/logical\.ContextOriginalBodyValue(\(.*\))$/\1.Value("original_body").(interface { Read([]byte) (int, error); Close() error })/
s/logical\.CreateContextOriginalBody(\(ctx\|r\.Context()\), /context.WithValue(\1, "original_body", /
/^\t*"managed-keys\/"/s/logical\.CreateOperation, //
