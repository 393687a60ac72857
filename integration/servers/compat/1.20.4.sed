# Vault 1.20.4 was built with an sdk that was never published. The published one
# has one more argument, and wants a method that only Vault Enterprise fills.
s/connutil\.GetCloudSQLAuthOptions(credentials, false)/connutil.GetCloudSQLAuthOptions(credentials, false, false)/
/^func (d dynamicSystemView) DeregisterRotationJob(/i \
func (d dynamicSystemView) GetRotationInformation(context.Context, *rotation.RotationInfoRequest) (*rotation.RotationInfoResponse, error) {\
	return nil, fmt.Errorf("no rotation in this Vault")\
}\

