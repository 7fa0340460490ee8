package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"golang.org/x/sync/errgroup"

	"cognito-backup/internal/step"
)

// ConfigurationAPI is what reading a pool's configuration needs of Cognito.
type ConfigurationAPI interface {
	DescribeUserPool(context.Context, *idp.DescribeUserPoolInput, ...func(*idp.Options)) (*idp.DescribeUserPoolOutput, error)
	GetUserPoolMfaConfig(context.Context, *idp.GetUserPoolMfaConfigInput, ...func(*idp.Options)) (*idp.GetUserPoolMfaConfigOutput, error)
	ListUserPoolClients(context.Context, *idp.ListUserPoolClientsInput, ...func(*idp.Options)) (*idp.ListUserPoolClientsOutput, error)
	DescribeUserPoolClient(context.Context, *idp.DescribeUserPoolClientInput, ...func(*idp.Options)) (*idp.DescribeUserPoolClientOutput, error)
	ListIdentityProviders(context.Context, *idp.ListIdentityProvidersInput, ...func(*idp.Options)) (*idp.ListIdentityProvidersOutput, error)
	DescribeIdentityProvider(context.Context, *idp.DescribeIdentityProviderInput, ...func(*idp.Options)) (*idp.DescribeIdentityProviderOutput, error)
	ListResourceServers(context.Context, *idp.ListResourceServersInput, ...func(*idp.Options)) (*idp.ListResourceServersOutput, error)
}

// Configuration is a pool's configuration without any secret, in the shapes of
// the API.
type Configuration struct {
	UserPool          types.UserPoolType
	MFA               MFAConfiguration
	Clients           []types.UserPoolClientType
	IdentityProviders []types.IdentityProviderType
	ResourceServers   []types.ResourceServerType
	// EstimatedUsers is Cognito's estimate. It is no part of the configuration,
	// because it changes without anybody's doing.
	EstimatedUsers int32 `json:"-"`
	// Secrets is how many secrets of app clients and identity providers were left
	// out.
	Secrets int64 `json:"-"`
	// NotRead names the parts that Cognito refused to give out: MFA, Clients,
	// IdentityProviders, ResourceServers. They are empty, or as Keep found them.
	NotRead []string `json:",omitempty"`
}

// Keep takes the parts that could not be read from a configuration read before.
func (c *Configuration) Keep(before *Configuration) {
	for _, part := range c.NotRead {
		switch part {
		case partMFA:
			c.MFA = before.MFA
		case partClients:
			c.Clients = before.Clients
		case partProviders:
			c.IdentityProviders = before.IdentityProviders
		case partServers:
			c.ResourceServers = before.ResourceServers
		}
	}
}

// The parts of a configuration that have calls of their own.
const (
	partMFA       = "MFA"
	partClients   = "Clients"
	partProviders = "IdentityProviders"
	partServers   = "ResourceServers"
)

// MFAConfiguration is what GetUserPoolMfaConfig returns.
type MFAConfiguration struct {
	MfaConfiguration              types.UserPoolMfaType
	EmailMfaConfiguration         *types.EmailMfaConfigType
	SmsMfaConfiguration           *types.SmsMfaConfigType
	SoftwareTokenMfaConfiguration *types.SoftwareTokenMfaConfigType
	WebAuthnConfiguration         *types.WebAuthnConfigurationType
}

// secretDetails are the provider details that are secrets.
// Source: API reference, IdentityProviderType.ProviderDetails.
var secretDetails = []string{"client_secret", "private_key"}

// ReadConfiguration reads a pool's configuration and leaves out client secrets
// and provider secrets, and what changes without anybody's doing. Lists are
// sorted, so that the same configuration always reads the same. A part besides
// the pool itself that Cognito refuses, and would refuse again, is noted in
// NotRead: users and groups can be backed up all the same.
func ReadConfiguration(ctx context.Context, api ConfigurationAPI, poolID string) (*Configuration, error) {
	described, err := api.DescribeUserPool(ctx, &idp.DescribeUserPoolInput{UserPoolId: &poolID})
	if missing := new(types.ResourceNotFoundException); errors.As(err, &missing) {
		return nil, &NotFoundError{PoolID: poolID, err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("describe user pool %s: %w", poolID, err)
	}
	if described.UserPool == nil {
		return nil, fmt.Errorf("describe user pool %s: the answer has no pool", poolID)
	}
	c := &Configuration{UserPool: *described.UserPool, EstimatedUsers: described.UserPool.EstimatedNumberOfUsers}
	c.UserPool.EstimatedNumberOfUsers, c.UserPool.LastModifiedDate = 0, nil
	slices.SortFunc(c.UserPool.SchemaAttributes, func(a, b types.SchemaAttributeType) int {
		return cmp.Compare(aws.ToString(a.Name), aws.ToString(b.Name))
	})

	// Side by side: their quotas are of their own, and an export waits for the sum.
	g, gctx := errgroup.WithContext(ctx)
	var clientSecrets, providerSecrets int64
	parts := []struct {
		name string
		read func() error
	}{
		{partMFA, func() (err error) {
			c.MFA, err = readMFA(gctx, api, poolID)
			return err
		}},
		{partClients, func() (err error) {
			c.Clients, clientSecrets, err = readClients(gctx, api, poolID)
			return err
		}},
		{partProviders, func() (err error) {
			c.IdentityProviders, providerSecrets, err = readProviders(gctx, api, poolID)
			return err
		}},
		{partServers, func() (err error) {
			c.ResourceServers, err = readServers(gctx, api, poolID)
			return err
		}},
	}
	refused := make([]error, len(parts))
	for i, part := range parts {
		g.Go(func() error {
			err := part.read()
			if Refused(err) {
				refused[i] = err
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, part := range parts {
		if refused[i] != nil {
			slog.WarnContext(ctx, "part of the configuration not read", "part", part.name, step.LogError, refused[i].Error())
			c.NotRead = append(c.NotRead, part.name)
		}
	}
	c.Secrets = clientSecrets + providerSecrets
	return c, nil
}

func readMFA(ctx context.Context, api ConfigurationAPI, poolID string) (MFAConfiguration, error) {
	mfa, err := api.GetUserPoolMfaConfig(ctx, &idp.GetUserPoolMfaConfigInput{UserPoolId: &poolID})
	if err != nil {
		return MFAConfiguration{}, fmt.Errorf("read the MFA configuration of user pool %s: %w", poolID, err)
	}
	return MFAConfiguration{
		MfaConfiguration: mfa.MfaConfiguration, EmailMfaConfiguration: mfa.EmailMfaConfiguration,
		SmsMfaConfiguration: mfa.SmsMfaConfiguration, SoftwareTokenMfaConfiguration: mfa.SoftwareTokenMfaConfiguration,
		WebAuthnConfiguration: mfa.WebAuthnConfiguration,
	}, nil
}

// listAll reads the pages of a short list, from the beginning again if a token
// expires.
func listAll[T any](ctx context.Context, page func(ctx context.Context, token *string) ([]T, *string, error)) ([]T, error) {
	var all []T
	var chain Chain
	never := func() bool { return false }
	err := chain.Follow(ctx, never, func(ctx context.Context, token *string) (*string, error) {
		if token == nil {
			all = nil
		}
		items, next, err := page(ctx, token)
		all = append(all, items...)
		return next, err
	})
	if IsTokenExpired(err, chain.Token) { // once too often; the list itself is not refused
		err = &step.TransientError{Err: err}
	}
	return all, err
}

func readServers(ctx context.Context, api ConfigurationAPI, poolID string) ([]types.ResourceServerType, error) {
	all, err := listAll(ctx, func(ctx context.Context, token *string) ([]types.ResourceServerType, *string, error) {
		out, err := api.ListResourceServers(ctx, &idp.ListResourceServersInput{UserPoolId: &poolID, MaxResults: aws.Int32(50), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.ResourceServers, out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list resource servers of user pool %s: %w", poolID, err)
	}
	slices.SortFunc(all, func(a, b types.ResourceServerType) int {
		return cmp.Compare(aws.ToString(a.Identifier), aws.ToString(b.Identifier))
	})
	return all, nil
}

// readClients also counts the secrets that it leaves out.
func readClients(ctx context.Context, api ConfigurationAPI, poolID string) (all []types.UserPoolClientType, secrets int64, err error) {
	listed, err := listAll(ctx, func(ctx context.Context, token *string) ([]types.UserPoolClientDescription, *string, error) {
		out, err := api.ListUserPoolClients(ctx, &idp.ListUserPoolClientsInput{UserPoolId: &poolID, MaxResults: aws.Int32(PageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.UserPoolClients, out.NextToken, nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list app clients of user pool %s: %w", poolID, err)
	}
	for i := range listed {
		out, err := api.DescribeUserPoolClient(ctx, &idp.DescribeUserPoolClientInput{UserPoolId: &poolID, ClientId: listed[i].ClientId})
		if gone := new(types.ResourceNotFoundException); errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("describe app client %s of user pool %s: %w", aws.ToString(listed[i].ClientId), poolID, err)
		}
		if out.UserPoolClient == nil {
			continue
		}
		client := *out.UserPoolClient
		if aws.ToString(client.ClientSecret) != "" {
			secrets++
		}
		client.ClientSecret, client.LastModifiedDate = nil, nil
		all = append(all, client)
	}
	slices.SortFunc(all, func(a, b types.UserPoolClientType) int {
		return cmp.Compare(aws.ToString(a.ClientId), aws.ToString(b.ClientId))
	})
	return all, secrets, nil
}

// readProviders also counts the secrets that it leaves out.
func readProviders(ctx context.Context, api ConfigurationAPI, poolID string) (all []types.IdentityProviderType, secrets int64, err error) {
	listed, err := listAll(ctx, func(ctx context.Context, token *string) ([]types.ProviderDescription, *string, error) {
		out, err := api.ListIdentityProviders(ctx, &idp.ListIdentityProvidersInput{UserPoolId: &poolID, MaxResults: aws.Int32(PageSize), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Providers, out.NextToken, nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list identity providers of user pool %s: %w", poolID, err)
	}
	for i := range listed {
		out, err := api.DescribeIdentityProvider(ctx, &idp.DescribeIdentityProviderInput{UserPoolId: &poolID, ProviderName: listed[i].ProviderName})
		if gone := new(types.ResourceNotFoundException); errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("describe identity provider %s of user pool %s: %w", aws.ToString(listed[i].ProviderName), poolID, err)
		}
		if out.IdentityProvider == nil {
			continue
		}
		provider := *out.IdentityProvider
		provider.LastModifiedDate = nil
		for name := range provider.ProviderDetails {
			if slices.ContainsFunc(secretDetails, func(secret string) bool { return strings.Contains(strings.ToLower(name), secret) }) {
				delete(provider.ProviderDetails, name)
				secrets++
			}
		}
		all = append(all, provider)
	}
	slices.SortFunc(all, func(a, b types.IdentityProviderType) int {
		return cmp.Compare(aws.ToString(a.ProviderName), aws.ToString(b.ProviderName))
	})
	return all, secrets, nil
}

// NotFoundError says that a pool does not exist.
type NotFoundError struct {
	PoolID string
	err    error
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("user pool %s does not exist in Region %s of this account; check the pool id", e.PoolID, Region(e.PoolID))
}

func (e *NotFoundError) Unwrap() error { return e.err }
