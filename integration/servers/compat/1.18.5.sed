# Vault 1.18.5 was built with an sdk that was never published. The one before it
# lacks a constant and a field, the one after it wants methods that it has not.
s/logical\.EventMetadataPath,/"path",/
s/^\t\tVaultBuildDate:.*timestamppb.New(buildDate),//
s/buildDate, err := version.GetVaultBuildDate()/_, _ = timestamppb.New, version.GetVaultBuildDate\n\tvar err error/
