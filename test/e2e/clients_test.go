package e2e

import (
	"context"
	"testing"
	"time"

	"cognito-backup/internal/step"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

// cognitoClient is what somebody does to a pool by hand.
type cognitoClient struct {
	*idp.Client
	t *testing.T
}

func (b *bed) cognito(region string) cognitoClient {
	return cognitoClient{idp.NewFromConfig(b.Config(region)), b.t}
}

func (c cognitoClient) deleteUser(pool, username string) {
	c.t.Helper()
	if _, err := c.AdminDeleteUser(c.t.Context(), &idp.AdminDeleteUserInput{UserPoolId: &pool, Username: &username}); err != nil {
		c.t.Fatal(err)
	}
}

func (c cognitoClient) deletePool(pool string) {
	c.t.Helper()
	if _, err := c.DeleteUserPool(c.t.Context(), &idp.DeleteUserPoolInput{UserPoolId: &pool}); err != nil {
		c.t.Fatal(err)
	}
}

// awaitMail waits for a mail; those about failures come through EventBridge,
// after the execution has ended.
func (b *bed) awaitMail(region string, matches func(message string) bool) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for {
		mails := b.SNS(region).Outbox()
		for _, mail := range mails {
			if matches(mail.Message) {
				return mail.Message
			}
		}
		if err := step.Sleep(ctx, 50*time.Millisecond); err != nil {
			for _, mail := range mails {
				b.t.Logf("mail: %s\n%s", mail.Subject, mail.Message)
			}
			b.t.Fatal("the mail did not come")
		}
	}
}
