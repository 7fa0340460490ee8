package restore

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/pool"
)

// TestStandardAttributes: every pool has them, whether its description says so
// or not; what a description says of them counts.
func TestStandardAttributes(t *testing.T) {
	standard := []string{"address", "birthdate", "email", "email_verified", "family_name", "gender", "given_name", "identities", "locale", "middle_name", "name",
		"nickname", "phone_number", "phone_number_verified", "picture", "preferred_username", "profile", "sub", "updated_at", "website", "zoneinfo"}
	silent := SettingsOf(&types.UserPoolType{})
	for _, name := range standard {
		a, there := silent.Schema[name]
		if !there || a.Mutable != (name != "sub") || a.Required != (name == "sub") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if len(silent.Schema) != len(standard) {
		t.Errorf("%d attributes", len(silent.Schema))
	}
	u := user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true", "birthdate=1984-02-29", "updated_at=1700000000", "zoneinfo=Asia/Tokyo")
	r := &Rules{Target: silent}
	if have := r.attributes(&u); len(have) != 5 {
		t.Errorf("written are %v", have)
	}
	for name, value := range u.Attributes {
		if a := silent.Schema[name]; a.accepts(value) != "" {
			t.Errorf("%s %q %s", name, value, a.accepts(value))
		}
	}

	// As DescribeUserPool lists them.
	var listed types.UserPoolType
	for _, name := range standard {
		a := types.SchemaAttributeType{Name: &name, AttributeDataType: types.AttributeDataTypeString, Mutable: aws.Bool(name != "sub"), Required: aws.Bool(name == "sub")}
		text := func(shortest, longest int) *types.StringAttributeConstraintsType {
			return &types.StringAttributeConstraintsType{MinLength: aws.String(fmt.Sprint(shortest)), MaxLength: aws.String(fmt.Sprint(longest))}
		}
		switch name {
		case "sub":
			a.StringAttributeConstraints = text(1, 2048)
		case "birthdate":
			a.StringAttributeConstraints = text(10, 10)
		case "email_verified", "phone_number_verified":
			a.AttributeDataType = types.AttributeDataTypeBoolean
		case "updated_at":
			a.AttributeDataType, a.NumberAttributeConstraints = types.AttributeDataTypeNumber, &types.NumberAttributeConstraintsType{MinValue: aws.String("0")}
		case "identities":
			a.StringAttributeConstraints = &types.StringAttributeConstraintsType{}
		default:
			a.StringAttributeConstraints = text(0, 2048)
		}
		listed.SchemaAttributes = append(listed.SchemaAttributes, a)
	}
	full := SettingsOf(&listed)
	for name, p := range map[string]Plan{"the target": {Source: full, Target: silent}, "the source": {Source: silent, Target: full}} {
		if d := p.differing(); len(d) > 0 {
			t.Errorf("%s says nothing of its attributes, and they differ: %v", name, d)
		}
	}

	for i := range listed.SchemaAttributes {
		if *listed.SchemaAttributes[i].Name == "locale" {
			listed.SchemaAttributes[i].Mutable, listed.SchemaAttributes[i].Required = nil, aws.Bool(true)
		}
	}
	if a := SettingsOf(&listed).Schema["locale"]; a.Mutable || !a.Required {
		t.Errorf("what the description says does not count: %+v", a)
	}
}
