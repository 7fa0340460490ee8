package cognito

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

func TestAdminCreateUser(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"Schema": []in{
		{"Name": "plan", "AttributeDataType": "String", "StringAttributeConstraints": in{"MinLength": "2", "MaxLength": "4"}},
		{"Name": "no", "AttributeDataType": "Number", "NumberAttributeConstraints": in{"MinValue": "1", "MaxValue": "9"}},
		{"Name": "flag", "AttributeDataType": "Boolean"},
		{"Name": "when", "AttributeDataType": "DateTime"},
		{"Name": "source", "AttributeDataType": "String", "Mutable": false},
		{"Name": "email", "AttributeDataType": "String", "Required": true, "Mutable": true},
	}})
	u := b.create(pool, "anna,b#🙂", "custom:plan", "free", "custom:no", "5", "custom:flag", "true", "custom:when", "2026-01-02T03:04:05Z",
		"custom:source", "web", "birthdate", "1999-12-31", "name", "", "email", "a@example.com", "email_verified", "false")
	if u["UserStatus"] != ForceChangePassword || u["Enabled"] != true || value(u, "sub") == "" || value(u, "sub") == "anna,b#🙂" {
		t.Errorf("new user %v", u)
	}
	if value(u, "name") != "" || value(u, "custom:no") != "5" || value(u, "email_verified") != "false" {
		t.Errorf("attributes %v", u["Attributes"])
	}
	for _, c := range []struct{ code, text, name, value string }{
		{"InvalidParameterException", "custom:x: Attribute does not exist in the schema.", "custom:x", "1"},
		{"InvalidParameterException", "custom:plan", "custom:plan", "x"},
		{"InvalidParameterException", "custom:plan", "custom:plan", "long text"},
		{"InvalidParameterException", "custom:no", "custom:no", "0"},
		{"InvalidParameterException", "custom:no", "custom:no", "ten"},
		{"InvalidParameterException", "custom:no", "custom:no", "10"},
		{"InvalidParameterException", "custom:flag", "custom:flag", "yes"},
		{"InvalidParameterException", "custom:when", "custom:when", "yesterday"},
		{"InvalidParameterException", "birthdate", "birthdate", "12/31/1999"},
		{"InvalidParameterException", "updated_at", "updated_at", "-1"},
		{"InvalidParameterException", "Invalid email address format.", "email", "nobody"},
		{"InvalidParameterException", "Invalid phone number format.", "phone_number", "0171"},
		{"InvalidParameterException", "non-mutable attribute sub", "sub", "x"},
		{"InvalidParameterException", "identities", "identities", "[]"},
		{"InvalidParameterException", "email_verified", "email_verified", "true"},
	} {
		b.refused(c.code, c.text, "AdminCreateUser", in{"UserPoolId": pool, "Username": "new", "UserAttributes": attrs(c.name, c.value)})
	}
	b.refused("UsernameExistsException", "User account already exists", "AdminCreateUser", in{"UserPoolId": pool, "Username": "anna,b#🙂"})
	b.create(pool, "Anna,b#🙂") // case-sensitive, the API's default
	b.refused("ResourceNotFoundException", "User pool ap-northeast-1_X does not exist.", "AdminCreateUser", in{"UserPoolId": "ap-northeast-1_X", "Username": "a"})
	b.refused("InvalidPasswordException", "Password not long enough", "AdminCreateUser", in{"UserPoolId": pool, "Username": "p", "TemporaryPassword": "Aa1!"})
	if len(b.mails) != 0 {
		t.Errorf("mails in spite of SUPPRESS: %v", b.mails)
	}
	// sub names a user as well.
	if got := b.get(pool, value(u, "sub"))["Username"]; got != "anna,b#🙂" {
		t.Errorf("by sub: %v", got)
	}
}

func TestCaseInsensitivePool(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"UsernameConfiguration": in{"CaseSensitive": false}, "AliasAttributes": []string{"email"}})
	b.create(pool, "Anna", "email", "Anna@Example.com", "email_verified", "true")
	b.refused("UsernameExistsException", "", "AdminCreateUser", in{"UserPoolId": pool, "Username": "ANNA"})
	b.refused("AliasExistsException", "", "AdminCreateUser", in{"UserPoolId": pool, "Username": "bert", "UserAttributes": attrs("email", "anna@example.com", "email_verified", "true")})
	if got := b.get(pool, "anna@EXAMPLE.com")["Username"]; got != "Anna" {
		t.Errorf("found %v", got)
	}
}

func TestUsernameAttributes(t *testing.T) {
	for _, c := range []struct {
		attributes []string
		username   string
		refused    string
	}{
		{[]string{"email"}, "anna@example.com", ""},
		{[]string{"email"}, "+4915", "Username should be an email."},
		{[]string{"phone_number"}, "+4915", ""},
		{[]string{"phone_number"}, "anna@example.com", "Username should be a phone number."},
		{[]string{"email", "phone_number"}, "anna", "Username should be either an email or a phone number."},
		{[]string{"email", "phone_number"}, "+4915", ""},
	} {
		b := newBench(t)
		pool := b.newPool(in{"UsernameAttributes": c.attributes})
		if c.refused != "" {
			b.refused("InvalidParameterException", c.refused, "AdminCreateUser", in{"UserPoolId": pool, "Username": c.username})
			continue
		}
		u := b.create(pool, c.username)
		if u["Username"] != value(u, "sub") || u["Username"] == c.username {
			t.Errorf("%v: username %v, sub %v", c.attributes, u["Username"], value(u, "sub"))
		}
		if got := b.get(pool, c.username); got["Username"] != u["Username"] {
			t.Errorf("%v: not found by %s", c.attributes, c.username)
		}
		b.refused("UsernameExistsException", "User account already exists", "AdminCreateUser", in{"UserPoolId": pool, "Username": c.username})
	}

	b := newBench(t)
	pool := b.newPool(in{"UsernameAttributes": []string{"email", "phone_number"}})
	b.create(pool, "anna@example.com", "email_verified", "true", "email", "anna@example.com", "phone_number", "+491", "phone_number_verified", "true")
	b.create(pool, "bert@example.com", "phone_number", "+491") // not verified, so not a name
	b.refused("UsernameExistsException", "phone_number", "AdminCreateUser", in{"UserPoolId": pool, "Username": "cleo@example.com", "UserAttributes": attrs("phone_number", "+491", "phone_number_verified", "true")})
	b.refused("AliasExistsException", "An account with the given phone_number already exists.", "AdminUpdateUserAttributes",
		in{"UserPoolId": pool, "Username": "bert@example.com", "UserAttributes": attrs("phone_number_verified", "true")})
	b.refused("AliasExistsException", "email", "AdminUpdateUserAttributes",
		in{"UserPoolId": pool, "Username": "bert@example.com", "UserAttributes": attrs("email", "anna@example.com")})
	b.refused("InvalidParameterException", "does not match", "AdminCreateUser", in{"UserPoolId": pool, "Username": "c@example.com", "UserAttributes": attrs("email", "d@example.com")})

	b.call("AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "bert@example.com", "UserAttributes": attrs("email", "robert@example.com", "email_verified", "true")})
	b.refused("UserNotFoundException", "", "AdminGetUser", in{"UserPoolId": pool, "Username": "bert@example.com"})
	b.get(pool, "robert@example.com")
	b.create(pool, "bert@example.com") // free again
	b.refused("InvalidParameterException", "email", "AdminDeleteUserAttributes", in{"UserPoolId": pool, "Username": "robert@example.com", "UserAttributeNames": []string{"email"}})
}

func TestAliases(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"AliasAttributes": []string{"email", "phone_number", "preferred_username"}})
	b.refused("InvalidParameterException", "Username cannot be of email format, since user pool is configured for email alias.", "AdminCreateUser", in{"UserPoolId": pool, "Username": "a@example.com"})
	b.refused("InvalidParameterException", "phone number format", "AdminCreateUser", in{"UserPoolId": pool, "Username": "+4915"})

	b.create(pool, "anna", "email", "shared@example.com", "email_verified", "true", "preferred_username", "nick")
	b.create(pool, "bert", "email", "shared@example.com") // unverified: two may have it
	b.create(pool, "cleo", "email", "shared@example.com", "email_verified", "false")
	holder := func() any { return b.get(pool, "shared@example.com")["Username"] }
	if holder() != "anna" {
		t.Errorf("the alias names %v", holder())
	}
	b.refused("AliasExistsException", "email", "AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "bert", "UserAttributes": attrs("email_verified", "true")})
	dora := in{"UserPoolId": pool, "Username": "dora", "UserAttributes": attrs("email", "shared@example.com", "email_verified", "true"), "MessageAction": "SUPPRESS"}
	b.refused("AliasExistsException", "email", "AdminCreateUser", dora)
	b.refused("UserNotFoundException", "", "AdminGetUser", in{"UserPoolId": pool, "Username": "dora"})
	dora["ForceAliasCreation"] = true
	b.call("AdminCreateUser", dora)
	if holder() != "dora" || value(b.get(pool, "anna"), "email_verified") != "false" || value(b.get(pool, "anna"), "email") != "shared@example.com" {
		t.Errorf("after force: %v, anna %v", holder(), b.get(pool, "anna"))
	}
	b.refused("AliasExistsException", "preferred_username", "AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "bert", "UserAttributes": attrs("preferred_username", "nick")})
	b.call("AdminDeleteUser", in{"UserPoolId": pool, "Username": "dora"})
	b.call("AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "bert", "UserAttributes": attrs("email", "shared@example.com", "email_verified", "true")})
	if holder() != "bert" {
		t.Errorf("after a deletion the alias names %v", holder())
	}
}

func TestUpdateAttributes(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{
		"AutoVerifiedAttributes":      []string{"email"},
		"UserAttributeUpdateSettings": in{"AttributesRequireVerificationBeforeUpdate": []string{"email"}},
		"Schema": []in{
			{"Name": "fixed", "AttributeDataType": "String", "Mutable": false},
			{"Name": "name", "AttributeDataType": "String", "Mutable": true, "Required": true},
		},
	})
	b.create(pool, "anna", "email", "a@example.com", "email_verified", "true", "custom:fixed", "x", "nickname", "n", "phone_number", "+491", "phone_number_verified", "true")
	update := func(pairs ...string) {
		b.Helper()
		b.call("AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "anna", "UserAttributes": attrs(pairs...)})
	}
	before := b.get(pool, "anna")
	b.clock.advance(time.Second)
	update("nickname", "m", "phone_number", "+492")
	now := b.get(pool, "anna")
	if value(now, "nickname") != "m" || value(now, "phone_number") != "+492" || value(now, "phone_number_verified") != "false" {
		t.Errorf("after the update %v", now)
	}
	if now["UserLastModifiedDate"].(float64) <= before["UserLastModifiedDate"].(float64) || now["UserCreateDate"] != before["UserCreateDate"] {
		t.Errorf("dates before %v, after %v", before, now)
	}
	update("email", "b@example.com")
	if got := value(b.get(pool, "anna"), "email"); got != "a@example.com" {
		t.Errorf("an address that must be verified first became %s", got)
	}
	if len(b.mails) != 1 || b.mails[0].Medium != "EMAIL" {
		t.Errorf("mails %v", b.mails)
	}
	update("email", "b@example.com", "email_verified", "true")
	if now := b.get(pool, "anna"); value(now, "email") != "b@example.com" || value(now, "email_verified") != "true" {
		t.Errorf("verified in the same call: %v", now)
	}
	update("nickname", "") // empty deletes
	if got := value(b.get(pool, "anna"), "nickname"); got != "" {
		t.Errorf("nickname %q", got)
	}
	b.call("AdminDeleteUserAttributes", in{"UserPoolId": pool, "Username": "anna", "UserAttributeNames": []string{"phone_number"}})
	if now := b.get(pool, "anna"); value(now, "phone_number") != "" || value(now, "phone_number_verified") != "" {
		t.Errorf("after deletion %v", now)
	}
	b.refused("InvalidParameterException", "phone_number is required", "AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "anna", "UserAttributes": attrs("phone_number_verified", "true")})
	b.refused("InvalidParameterException", "custom:fixed: Attribute cannot be updated", "AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "anna", "UserAttributes": attrs("custom:fixed", "y")})
	for _, name := range []string{"sub", "custom:fixed", "name", "custom:none"} {
		b.refused("InvalidParameterException", name, "AdminDeleteUserAttributes", in{"UserPoolId": pool, "Username": "anna", "UserAttributeNames": []string{name}})
	}
}

func TestEnableAndDisable(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(nil)
	b.create(pool, "anna")
	for _, c := range []struct {
		operation string
		enabled   bool
	}{{"AdminDisableUser", false}, {"AdminDisableUser", false}, {"AdminEnableUser", true}, {"AdminEnableUser", true}} {
		b.call(c.operation, in{"UserPoolId": pool, "Username": "anna"})
		if got := b.get(pool, "anna")["Enabled"]; got != c.enabled {
			t.Errorf("after %s enabled is %v", c.operation, got)
		}
	}
	b.refused("UserNotFoundException", "User does not exist.", "AdminDisableUser", in{"UserPoolId": pool, "Username": "x"})
}

func TestStatusesAndSignIn(t *testing.T) {
	b := newBench(t)
	const good = "Right-Passw0rd"
	seed := &Seed{Pool: UserPool{Name: "p"}, Clients: []Client{{ClientId: "app", ExplicitAuthFlows: []string{"ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}}, {ClientId: "other"}}}
	for _, status := range []string{Confirmed, Unconfirmed, ResetRequired, ForceChangePassword, ExternalProvider} {
		seed.Users = append(seed.Users, User{Username: status, UserStatus: status, Enabled: true, Password: good})
	}
	seed.Users = append(seed.Users, User{Username: "disabled", UserStatus: Confirmed, Password: good})
	pool, err := b.Seed(seed)
	if err != nil {
		t.Fatal(err)
	}
	auth := func(username, password string) in {
		return in{"UserPoolId": pool, "ClientId": "app", "AuthFlow": "ADMIN_USER_PASSWORD_AUTH", "AuthParameters": in{"USERNAME": username, "PASSWORD": password}}
	}
	out := b.call("AdminInitiateAuth", auth(Confirmed, good))
	result := out["AuthenticationResult"].(map[string]any)
	if strings.Count(result["AccessToken"].(string), ".") != 2 {
		t.Errorf("tokens %v", result)
	}
	b.call("AdminInitiateAuth", in{"UserPoolId": pool, "ClientId": "app", "AuthFlow": "REFRESH_TOKEN_AUTH", "AuthParameters": in{"REFRESH_TOKEN": result["RefreshToken"]}})
	b.refused("NotAuthorizedException", "Incorrect username or password.", "AdminInitiateAuth", auth(Confirmed, "Wrong-Passw0rd"))
	b.refused("UserNotConfirmedException", "User is not confirmed.", "AdminInitiateAuth", auth(Unconfirmed, good))
	b.refused("PasswordResetRequiredException", "Password reset required", "AdminInitiateAuth", auth(ResetRequired, good))
	b.refused("NotAuthorizedException", "User is disabled.", "AdminInitiateAuth", auth("disabled", good))
	b.refused("UserNotFoundException", "", "AdminInitiateAuth", auth("nobody", good))
	other := auth(Confirmed, good)
	other["ClientId"] = "other"
	b.refused("InvalidParameterException", "Auth flow not enabled for this client", "AdminInitiateAuth", other)

	out = b.call("AdminInitiateAuth", auth(ForceChangePassword, good))
	if out["ChallengeName"] != "NEW_PASSWORD_REQUIRED" {
		t.Fatalf("challenge %v", out)
	}
	answer := in{"UserPoolId": pool, "ClientId": "app", "ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": out["Session"],
		"ChallengeResponses": in{"USERNAME": ForceChangePassword, "NEW_PASSWORD": "weak"}}
	b.refused("InvalidPasswordException", "", "AdminRespondToAuthChallenge", answer)
	answer["ChallengeResponses"] = in{"USERNAME": ForceChangePassword, "NEW_PASSWORD": "Brand-New-1"}
	if out := b.call("AdminRespondToAuthChallenge", answer); out["AuthenticationResult"] == nil {
		t.Errorf("after the new password %v", out)
	}
	status := func(username string) any { return b.get(pool, username)["UserStatus"] }
	if status(ForceChangePassword) != Confirmed {
		t.Errorf("status %v", status(ForceChangePassword))
	}

	b.call("AdminConfirmSignUp", in{"UserPoolId": pool, "Username": Unconfirmed})
	if status(Unconfirmed) != Confirmed {
		t.Error("AdminConfirmSignUp did not confirm")
	}
	b.refused("NotAuthorizedException", "User cannot be confirmed. Current status is CONFIRMED", "AdminConfirmSignUp", in{"UserPoolId": pool, "Username": Unconfirmed})
	b.refused("InvalidParameterException", "no registered/verified email", "AdminResetUserPassword", in{"UserPoolId": pool, "Username": Confirmed})
	b.call("AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": Confirmed, "UserAttributes": attrs("email", "a@example.com", "email_verified", "true")})
	b.call("AdminResetUserPassword", in{"UserPoolId": pool, "Username": Confirmed})
	if status(Confirmed) != ResetRequired || len(b.mails) != 1 {
		t.Errorf("after a reset: %v, %d mails", status(Confirmed), len(b.mails))
	}
	b.call("AdminSetUserPassword", in{"UserPoolId": pool, "Username": Confirmed, "Password": "Another-1x", "Permanent": true})
	if status(Confirmed) != Confirmed {
		t.Errorf("a permanent password led to %v", status(Confirmed))
	}
	b.call("AdminSetUserPassword", in{"UserPoolId": pool, "Username": Confirmed, "Password": "Another-1x", "Permanent": false})
	if status(Confirmed) != ForceChangePassword {
		t.Errorf("a temporary password led to %v", status(Confirmed))
	}
	b.refused("NotAuthorizedException", "User password cannot be reset in the current state.", "AdminResetUserPassword", in{"UserPoolId": pool, "Username": Confirmed})
	b.clock.advance(8 * 24 * time.Hour)
	b.refused("NotAuthorizedException", "Temporary password has expired", "AdminInitiateAuth", auth(Confirmed, "Another-1x"))
	b.refused("InvalidPasswordException", "uppercase", "AdminSetUserPassword", in{"UserPoolId": pool, "Username": Confirmed, "Password": "lower-case-1"})
}

func TestSignUp(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}, "AliasAttributes": []string{"email"}})
	client := b.call("CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "app"})["UserPoolClient"].(map[string]any)["ClientId"]
	up := in{"ClientId": client, "Username": "anna", "Password": "Right-Passw0rd", "UserAttributes": attrs("email", "a@example.com")}
	out := b.call("SignUp", up)
	if out["UserConfirmed"] != false || out["CodeDeliveryDetails"].(map[string]any)["Destination"] != "a***@e***" {
		t.Errorf("answer %v", out)
	}
	b.refused("UsernameExistsException", "User already exists", "SignUp", up)
	if len(b.mails) != 1 || b.mails[0].Destination != "a@example.com" {
		t.Fatalf("mails %v", b.mails)
	}
	if u := b.get(pool, "anna"); u["UserStatus"] != Unconfirmed || value(u, "email_verified") != "false" {
		t.Errorf("user %v", u)
	}
	b.refused("CodeMismatchException", "", "ConfirmSignUp", in{"ClientId": client, "Username": "anna", "ConfirmationCode": "x"})
	b.call("ConfirmSignUp", in{"ClientId": client, "Username": "anna", "ConfirmationCode": b.mails[0].Code})
	if u := b.get(pool, "anna"); u["UserStatus"] != Confirmed || value(u, "email_verified") != "true" {
		t.Errorf("user %v", u)
	}
	up["Username"] = "bert"
	b.call("SignUp", up) // the address is not verified yet, so it may be anna's
	b.refused("AliasExistsException", "", "ConfirmSignUp", in{"ClientId": client, "Username": "bert", "ConfirmationCode": b.mails[1].Code})
	b.call("ConfirmSignUp", in{"ClientId": client, "Username": "bert", "ConfirmationCode": b.mails[1].Code, "ForceAliasCreation": true})
	if got := b.get(pool, "a@example.com")["Username"]; got != "bert" {
		t.Errorf("the alias names %v", got)
	}
	b.call("UpdateUserPool", in{"UserPoolId": pool, "AdminCreateUserConfig": in{"AllowAdminCreateUserOnly": true}})
	up["Username"] = "cleo"
	b.refused("NotAuthorizedException", "SignUp is not permitted for this user pool", "SignUp", up)
	b.refused("ResourceNotFoundException", "", "SignUp", in{"ClientId": "none", "Username": "x"})
}

func TestTriggersAndMail(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"LambdaConfig": in{
		"PreSignUp":     "arn:aws:lambda:ap-northeast-1:123456789012:function:pre",
		"CustomMessage": "arn:aws:lambda:ap-northeast-1:123456789012:function:message",
	}})
	var events []string
	b.PreSignUp = func(_ context.Context, e *PreSignUpEvent) error {
		events = append(events, e.TriggerSource)
		if e.Username == "refuse" {
			return errors.New("no")
		}
		return nil
	}
	b.CustomMessage = func(_ context.Context, e *CustomMessageEvent) error {
		events = append(events, e.TriggerSource)
		return nil
	}
	b.create(pool, "quiet", "email", "q@example.com")
	if !slices.Equal(events, []string{"PreSignUp_AdminCreateUser"}) || len(b.mails) != 0 {
		t.Errorf("with SUPPRESS: events %v, mails %v", events, b.mails)
	}
	b.call("AdminCreateUser", in{"UserPoolId": pool, "Username": "loud", "UserAttributes": attrs("email", "l@example.com"), "TemporaryPassword": "Temp-Passw0rd"})
	if events[len(events)-1] != "CustomMessage_AdminCreateUser" || len(b.mails) != 1 || b.mails[0].Code != "Temp-Passw0rd" {
		t.Errorf("events %v, mails %v", events, b.mails)
	}
	b.refused("UserLambdaValidationException", "PreSignUp failed with error no.", "AdminCreateUser", in{"UserPoolId": pool, "Username": "refuse"})
	b.refused("UserNotFoundException", "", "AdminGetUser", in{"UserPoolId": pool, "Username": "refuse"})
	b.call("AdminCreateUser", in{"UserPoolId": pool, "Username": "loud", "MessageAction": "RESEND"})
	if len(b.mails) != 2 {
		t.Errorf("RESEND sent %d mails in all", len(b.mails))
	}
	b.call("AdminSetUserPassword", in{"UserPoolId": pool, "Username": "loud", "Password": "Right-Passw0rd", "Permanent": true})
	b.refused("UnsupportedUserStateException", "Resend not possible.", "AdminCreateUser", in{"UserPoolId": pool, "Username": "loud", "MessageAction": "RESEND"})
}

func TestLinks(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"Schema": []in{{"Name": "fixed", "AttributeDataType": "String", "Mutable": false}}})
	b.create(pool, "anna")
	b.create(pool, "bert", "custom:fixed", "x")
	link := func(user, provider, name, value string) in {
		return in{"UserPoolId": pool,
			"DestinationUser": in{"ProviderName": "Cognito", "ProviderAttributeValue": user},
			"SourceUser":      in{"ProviderName": provider, "ProviderAttributeName": name, "ProviderAttributeValue": value}}
	}
	b.refused("ResourceNotFoundException", "", "AdminLinkProviderForUser", link("anna", "Google", "Cognito_Subject", "1"))
	google := in{"UserPoolId": pool, "ProviderName": "Google", "ProviderType": "Google", "ProviderDetails": in{"client_id": "i", "client_secret": "s", "authorize_scopes": "email"}}
	b.call("CreateIdentityProvider", google)
	b.refused("DuplicateProviderException", "", "CreateIdentityProvider", google)
	b.call("CreateIdentityProvider", in{"UserPoolId": pool, "ProviderName": "corp", "ProviderType": "SAML", "ProviderDetails": in{"MetadataURL": "https://example.com"}})
	b.refused("InvalidParameterException", "Cognito_Subject", "AdminLinkProviderForUser", link("anna", "Google", "email", "a@example.com"))
	b.refused("UserNotFoundException", "", "AdminLinkProviderForUser", link("nobody", "Google", "Cognito_Subject", "1"))
	b.refused("UserNotFoundException", "", "AdminLinkProviderForUser", link(value(b.get(pool, "anna"), "sub"), "Google", "Cognito_Subject", "1"))
	b.refused("InvalidParameterException", "custom:fixed", "AdminLinkProviderForUser", link("bert", "Google", "Cognito_Subject", "1"))
	for i := range 4 {
		b.call("AdminLinkProviderForUser", link("anna", "Google", "Cognito_Subject", fmt.Sprint(i)))
	}
	b.call("AdminLinkProviderForUser", link("anna", "corp", "email", "a@example.com"))
	b.refused("InvalidParameterException", "already linked", "AdminLinkProviderForUser", link("anna", "Google", "Cognito_Subject", "1"))
	b.refused("LimitExceededException", "", "AdminLinkProviderForUser", link("anna", "Google", "Cognito_Subject", "9"))
	b.create(pool, "cleo")
	b.refused("InvalidParameterException", "Merging is not currently supported", "AdminLinkProviderForUser", link("cleo", "Google", "Cognito_Subject", "1"))

	var list []identity
	if err := json.Unmarshal([]byte(value(b.get(pool, "anna"), "identities")), &list); err != nil || len(list) != 5 {
		t.Fatalf("identities %v: %v", list, err)
	}
	if i := list[4]; i.UserID != "a@example.com" || i.ProviderName != "corp" || i.ProviderType != "SAML" || i.Primary || i.DateCreated == 0 {
		t.Errorf("identity %+v", i)
	}
	b.call("AdminDisableProviderForUser", in{"UserPoolId": pool, "User": in{"ProviderName": "Google", "ProviderAttributeName": "Cognito_Subject", "ProviderAttributeValue": "1"}})
	b.call("AdminLinkProviderForUser", link("cleo", "Google", "Cognito_Subject", "1"))
	b.call("AdminDeleteUser", in{"UserPoolId": pool, "Username": "cleo"})
	b.call("AdminLinkProviderForUser", link("anna", "Google", "Cognito_Subject", "1"))
}

func TestMFAPreference(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{"UserPoolTier": "ESSENTIALS"})
	b.create(pool, "anna", "phone_number", "+491", "email", "a@example.com")
	b.create(pool, "bert")
	set := func(user string, more in) in {
		more["UserPoolId"], more["Username"] = pool, user
		return more
	}
	on := in{"Enabled": true, "PreferredMfa": true}
	b.call("AdminSetUserMFAPreference", set("anna", in{"SMSMfaSettings": in{"Enabled": true}, "EmailMfaSettings": on}))
	u := b.get(pool, "anna")
	if u["PreferredMfaSetting"] != "EMAIL_OTP" || fmt.Sprint(u["UserMFASettingList"]) != "[SMS_MFA EMAIL_OTP]" {
		t.Errorf("factors %v, preferred %v", u["UserMFASettingList"], u["PreferredMfaSetting"])
	}
	b.refused("InvalidParameterException", "SMS_MFA", "AdminSetUserMFAPreference", set("bert", in{"SMSMfaSettings": on}))
	b.refused("InvalidParameterException", "software token", "AdminSetUserMFAPreference", set("anna", in{"SoftwareTokenMfaSettings": on}))
	b.refused("InvalidParameterException", "one MFA factor", "AdminSetUserMFAPreference", set("anna", in{"SMSMfaSettings": on, "EmailMfaSettings": on}))

	// A pool with MFA asks for the second factor.
	b.call("SetUserPoolMfaConfig", in{"UserPoolId": pool, "MfaConfiguration": "OPTIONAL", "EmailMfaConfiguration": in{"Subject": "Code"}})
	client := b.call("CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "app", "ExplicitAuthFlows": []string{"ALLOW_ADMIN_USER_PASSWORD_AUTH"}})["UserPoolClient"].(map[string]any)["ClientId"]
	b.call("AdminSetUserPassword", in{"UserPoolId": pool, "Username": "anna", "Password": "Right-Passw0rd", "Permanent": true})
	out := b.call("AdminInitiateAuth", in{"UserPoolId": pool, "ClientId": client, "AuthFlow": "ADMIN_USER_PASSWORD_AUTH", "AuthParameters": in{"USERNAME": "anna", "PASSWORD": "Right-Passw0rd"}})
	if out["ChallengeName"] != "EMAIL_OTP" || len(b.mails) != 1 {
		t.Fatalf("challenge %v, mails %v", out, b.mails)
	}
	out = b.call("AdminRespondToAuthChallenge", in{"UserPoolId": pool, "ClientId": client, "ChallengeName": "EMAIL_OTP", "Session": out["Session"],
		"ChallengeResponses": in{"USERNAME": "anna", "EMAIL_OTP_CODE": b.mails[0].Code}})
	if out["AuthenticationResult"] == nil {
		t.Errorf("answer %v", out)
	}
}

func TestUserPoolConfiguration(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(in{
		"DeletionProtection": "ACTIVE", "UserPoolTags": in{"a": "b"},
		"Schema": []in{
			{"Name": "plan", "AttributeDataType": "String"},
			{"Name": "email", "AttributeDataType": "String", "Required": true, "Mutable": true, "StringAttributeConstraints": in{"MinLength": "0", "MaxLength": "99"}},
		},
	})
	describe := func() map[string]any {
		return b.call("DescribeUserPool", in{"UserPoolId": pool})["UserPool"].(map[string]any)
	}
	schema := func() map[string]map[string]any {
		m := map[string]map[string]any{}
		for _, a := range describe()["SchemaAttributes"].([]any) {
			m[a.(map[string]any)["Name"].(string)] = a.(map[string]any)
		}
		return m
	}
	d := describe()
	if d["Arn"] != "arn:aws:cognito-idp:ap-northeast-1:123456789012:userpool/"+pool || d["MfaConfiguration"] != "OFF" || d["EstimatedNumberOfUsers"] != 0.0 {
		t.Errorf("pool %v", d)
	}
	if s := schema(); len(s) != 22 || s["custom:plan"]["Mutable"] != true || s["email"]["Required"] != true || s["sub"]["Mutable"] != false {
		t.Errorf("%d attributes: %v", len(s), s)
	}
	b.call("AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": []in{{"Name": "no", "AttributeDataType": "Number"}}})
	b.refused("InvalidParameterException", "Existing attribute already has name custom:no", "AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": []in{{"Name": "x", "AttributeDataType": "Number"}, {"Name": "no", "AttributeDataType": "Number"}}})
	if s := schema(); len(s) != 23 {
		t.Errorf("a refused call added attributes: %d", len(s))
	}
	var many []in
	for i := range 25 {
		many = append(many, in{"Name": fmt.Sprint("m", i), "AttributeDataType": "String"})
	}
	b.call("AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": many[:24]})
	for i := range many {
		many[i]["Name"] = fmt.Sprint("n", i)
	}
	b.refused("InvalidParameterException", "50", "AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": many})
	b.call("AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": many[:24]})

	b.refused("InvalidParameterException", "Only one of", "CreateUserPool", in{"PoolName": "x", "AliasAttributes": []string{"email"}, "UsernameAttributes": []string{"email"}})
	b.refused("InvalidParameterException", "Required custom attributes", "CreateUserPool", in{"PoolName": "x", "Schema": []in{{"Name": "c", "AttributeDataType": "String", "Required": true}}})
	b.refused("InvalidParameterException", "SMS configuration", "CreateUserPool", in{"PoolName": "x", "MfaConfiguration": "ON"})

	b.refused("InvalidParameterException", "deletion protection is activated", "DeleteUserPool", in{"UserPoolId": pool})
	b.call("UpdateUserPool", in{"UserPoolId": pool, "AutoVerifiedAttributes": []string{"email"}}) // resets the protection
	if d := describe(); d["DeletionProtection"] != "INACTIVE" || d["UserPoolTags"] != nil || d["Name"] != "test" || len(schema()) != 71 {
		t.Errorf("after an update that leaves things out: %v", d)
	}
	if out := b.call("ListUserPools", in{"MaxResults": 60}); len(out["UserPools"].([]any)) != 1 {
		t.Errorf("pools %v", out)
	}
	b.call("DeleteUserPool", in{"UserPoolId": pool})
	b.refused("ResourceNotFoundException", "does not exist", "DescribeUserPool", in{"UserPoolId": pool})
}

func TestClientsProvidersAndServers(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(nil)
	b.refused("ScopeDoesNotExistException", "api/read", "CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "c", "AllowedOAuthScopes": []string{"api/read"}})
	b.call("CreateResourceServer", in{"UserPoolId": pool, "Identifier": "api", "Name": "API", "Scopes": []in{{"ScopeName": "read", "ScopeDescription": "reads"}}})
	b.refused("InvalidParameterException", "The provider Google does not exist for User Pool "+pool, "CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "c", "SupportedIdentityProviders": []string{"COGNITO", "Google"}})
	b.refused("InvalidParameterException", "GenerateSecret", "CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "c", "GenerateSecret": true, "ClientSecret": "012345678901234567890123"})
	made := b.call("CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": "c", "AllowedOAuthScopes": []string{"openid", "api/read"}, "ClientSecret": "012345678901234567890123"})["UserPoolClient"].(map[string]any)
	read := b.call("DescribeUserPoolClient", in{"UserPoolId": pool, "ClientId": made["ClientId"]})["UserPoolClient"].(map[string]any)
	if read["ClientSecret"] != "012345678901234567890123" || read["RefreshTokenValidity"] != 30.0 {
		t.Errorf("client %v", read)
	}
	b.call("CreateIdentityProvider", in{"UserPoolId": pool, "ProviderName": "SignInWithApple", "ProviderType": "SignInWithApple",
		"ProviderDetails": in{"client_id": "i", "team_id": "t", "key_id": "k", "private_key": "secret", "authorize_scopes": "email"}})
	details := b.call("DescribeIdentityProvider", in{"UserPoolId": pool, "ProviderName": "SignInWithApple"})["IdentityProvider"].(map[string]any)["ProviderDetails"].(map[string]any)
	if details["private_key"] != nil || details["client_id"] != "i" {
		t.Errorf("Apple's details %v", details)
	}
	for i := range 4 {
		b.call("CreateUserPoolClient", in{"UserPoolId": pool, "ClientName": fmt.Sprint("c", i)})
	}
	if got := sizes(b.chain("ListUserPoolClients", "UserPoolClients", "NextToken", "NextToken", in{"UserPoolId": pool, "MaxResults": 2})); !slices.Equal(got, []int{2, 2, 1}) {
		t.Errorf("pages of clients %v", got)
	}
	if out := b.call("ListIdentityProviders", in{"UserPoolId": pool}); len(out["Providers"].([]any)) != 1 {
		t.Errorf("providers %v", out)
	}
	if out := b.call("ListResourceServers", in{"UserPoolId": pool, "MaxResults": 50}); len(out["ResourceServers"].([]any)) != 1 {
		t.Errorf("servers %v", out)
	}
}

func TestPermissions(t *testing.T) {
	s := New(region, nil)
	pool := "arn:aws:cognito-idp:ap-northeast-1:123456789012:userpool/ap-northeast-1_a"
	role := "arn:aws:iam::123456789012:role/r"
	for _, c := range []struct {
		operation, input string
		want             []string
	}{
		{"ListUsers", `{"UserPoolId":"ap-northeast-1_a"}`, []string{"cognito-idp:ListUsers " + pool + " "}},
		{"ListUserPools", `{"MaxResults":1}`, []string{"cognito-idp:ListUserPools * "}},
		{"SignUp", `{"ClientId":"c"}`, nil},
		{"CreateGroup", `{"UserPoolId":"ap-northeast-1_a","GroupName":"g"}`, []string{"cognito-idp:CreateGroup " + pool + " "}},
		{"CreateGroup", `{"UserPoolId":"ap-northeast-1_a","GroupName":"g","RoleArn":"` + role + `"}`,
			[]string{"cognito-idp:CreateGroup " + pool + " ", "iam:PassRole " + role + " cognito-identity.amazonaws.com"}},
		{"CreateUserImportJob", `{"UserPoolId":"ap-northeast-1_a","CloudWatchLogsRoleArn":"` + role + `"}`,
			[]string{"cognito-idp:CreateUserImportJob " + pool + " ", "iam:PassRole " + role + " cognito-idp.amazonaws.com"}},
	} {
		var got []string
		for _, p := range s.Permissions(&wire.Call{Operation: c.operation, Input: json.RawMessage(c.input)}) {
			got = append(got, p.Action+" "+p.Resource+" "+p.Context["iam:PassedToService"])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.operation, c.input, got, c.want)
		}
	}
}
