package cognito

import (
	"context"
	"slices"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Mail is a message that Cognito would have sent to a user.
type Mail struct {
	UserPoolID  string
	Username    string
	Sub         string
	Trigger     string // what it is about: CustomMessage_AdminCreateUser and so on
	Medium      string // EMAIL or SMS
	Destination string
	Code        string // temporary password or confirmation code
}

// PreSignUpEvent is what the PreSignUp trigger is told; it may set the fields of
// its response.
type PreSignUpEvent struct {
	UserPoolID     string
	TriggerSource  string // PreSignUp_AdminCreateUser or PreSignUp_SignUp
	Username       string
	UserAttributes []Attribute
	ValidationData []Attribute
	ClientMetadata map[string]string

	AutoConfirmUser bool
	AutoVerifyEmail bool
	AutoVerifyPhone bool
}

// CustomMessageEvent is what the CustomMessage trigger is told.
type CustomMessageEvent struct {
	UserPoolID     string
	TriggerSource  string
	Username       string
	UserAttributes []Attribute
	ClientMetadata map[string]string
}

const triggerTimeout = 5 * time.Second // developer guide, Lambda triggers

// preSignUp runs the trigger if the pool names one.
func (s *Service) preSignUp(ctx context.Context, p *pool, source, username string, attrs, validation []Attribute, metadata map[string]string) (*PreSignUpEvent, error) {
	event := &PreSignUpEvent{
		UserPoolID: p.id, TriggerSource: source, Username: username,
		UserAttributes: slices.Clone(attrs), ValidationData: slices.Clone(validation), ClientMetadata: metadata,
	}
	p.mu.RLock()
	_, named := p.config.LambdaConfig["PreSignUp"]
	p.mu.RUnlock()
	if !named || s.PreSignUp == nil {
		return event, nil
	}
	return event, trigger(ctx, "PreSignUp", func(ctx context.Context) error { return s.PreSignUp(ctx, event) })
}

func trigger(ctx context.Context, name string, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, triggerTimeout)
	defer cancel()
	err := run(ctx)
	switch {
	case ctx.Err() != nil:
		return wire.Errorf("UnexpectedLambdaException", "%s invocation failed due to error TimeoutException.", name)
	case err != nil:
		return wire.Errorf("UserLambdaValidationException", "%s failed with error %s.", name, err)
	}
	return nil
}

// send reports a message to OnMail. It goes to the first medium wanted that the
// user has an address for; without a wish, SMS is tried before e-mail, as
// AdminCreateUser documents. A user without any address gets nothing.
func (s *Service) send(ctx context.Context, p *pool, u User, source, code string, media []string, metadata map[string]string) error {
	if len(media) == 0 {
		media = []string{"SMS", "EMAIL"}
	}
	p.mu.RLock()
	_, named := p.config.LambdaConfig["CustomMessage"]
	p.mu.RUnlock()
	for _, medium := range media {
		address := u.Attribute("email")
		if medium == "SMS" {
			address = u.Attribute("phone_number")
		}
		if address == "" {
			continue
		}
		if named && s.CustomMessage != nil {
			event := &CustomMessageEvent{p.id, source, u.Username, u.Attributes, metadata}
			if err := trigger(ctx, "CustomMessage", func(ctx context.Context) error { return s.CustomMessage(ctx, event) }); err != nil {
				return err
			}
		}
		if s.OnMail != nil {
			s.OnMail(Mail{p.id, u.Username, u.Attribute("sub"), source, medium, address, code})
		}
		return nil
	}
	return nil
}
