# The seals of clouds.
/go-kms-wrapping\/wrappers\/\(alicloudkms\|awskms\|azurekeyvault\|gcpckms\|ocikms\|transit\)\//d
/^\(func\|var\) Get\(AliCloudKMS\|AWSKMS\|AzureKeyVaultKMS\|GCPCKMSKMS\|OCIKMSKMS\|TransitKMS\)Func/,/^}/d
s/^\t\twrapper, kmsInfo, err = Get\(AliCloudKMS\|AWSKMS\|AzureKeyVaultKMS\|GCPCKMSKMS\|OCIKMSKMS\|TransitKMS\)Func(.*/\t\terr = fmt.Errorf("%s is left out of this Vault", configKMS.Type)/
/^\t"github.com\/hashicorp\/errwrap"/d
/^\t"github.com\/hashicorp\/vault\/sdk\/logical"/d
