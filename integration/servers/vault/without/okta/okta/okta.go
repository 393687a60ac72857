// Package okta, in the place of Okta's client, refuses to be configured: no
// test logs in with it. All that follows is never reached, it only has the
// shape that Vault's login by a second factor is compiled against.
package okta

import (
	"context"
	"errors"
)

type Configuration struct{ Context context.Context }

type ConfigSetter func(*Configuration)

func NewConfiguration(...ConfigSetter) (*Configuration, error) {
	return nil, errors.New("Okta is left out of this Vault")
}

func WithToken(string) ConfigSetter  { return nil }
func WithOrgUrl(string) ConfigSetter { return nil }
func WithCache(bool) ConfigSetter    { return nil }

type APIClient struct {
	UserAPI       users
	UserFactorAPI factors
}

func NewAPIClient(*Configuration) *APIClient { return nil }

func (*APIClient) GetConfig() *Configuration { return nil }

type users interface {
	ListUsers(ctx context.Context) userQuery
}

type userQuery interface {
	Filter(filter string) userQuery
	Execute() ([]User, any, error)
}

type User struct{}

func (User) GetId() string { return "" }

type factors interface {
	ListFactors(ctx context.Context, user string) call[[]Factor]
	VerifyFactor(ctx context.Context, user, factor string) call[*Verification]
	GetFactorTransactionStatus(ctx context.Context, user, factor, transaction string) call[*Status]
}

type call[Result any] interface {
	Execute() (Result, any, error)
}

type Factor struct{ UserFactorPush *UserFactorPush }

type UserFactorPush struct{}

func (UserFactorPush) GetId() string { return "" }

type Verification struct{ Links map[string]any }

func (Verification) GetFactorResult() string { return "" }

type Status struct {
	UserFactorPushTransaction         *struct{}
	UserFactorPushTransactionRejected *struct{}
	UserFactorPushTransactionTimeout  *struct{}
	UserFactorPushTransactionWaiting  *struct{}
}
