# Vault 1.21.4 was built with an sdk that was never published. In the published
# one a callback takes one more argument, which this Vault has no use for.
s/\.ActivationFunc(ctx, nil)/.ActivationFunc(ctx, nil, "")/
