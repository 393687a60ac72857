# See auth_iam.go.
s/setIamAuthToken(ctx, c, .*)/setIamAuthToken(c)/
/^\tvaultiamauth "/d
