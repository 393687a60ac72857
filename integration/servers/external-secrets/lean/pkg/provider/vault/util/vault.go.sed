# See ../auth_iam.go.
/JwtProviderFactory/d
/^\t"github.com\/aws\//d
