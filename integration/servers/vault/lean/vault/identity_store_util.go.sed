# See logical_system_activation_flags.go.sed.
s/^\(func (.*) activateDeduplication(ctx context.Context, req \*logical.Request\)) error {/\1, _ string) error {/
# Helpers of Vault's own tests.
/^func [a-zA-Z]*(t \*testing\.T/,/^}/d
/^\t"\(testing\|math\/rand\|github.com\/stretchr\/testify\/require\)"/d
