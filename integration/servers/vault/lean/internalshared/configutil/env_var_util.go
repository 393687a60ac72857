package configutil

// What configures the seals of clouds from the environment: they are left out.
var (
	AliCloudKMSEnvVars, AWSKMSEnvVars, AzureEnvVars, GCPCKMSEnvVars, OCIKMSEnvVars, TransitEnvVars map[string]string

	TransitPrioritizeConfigValues, TransitTLSConfigVars []string
)
