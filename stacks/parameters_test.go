package stacks

import (
	"maps"
	"reflect"
	"strings"
	"testing"
)

func minimal(changes map[string]any) map[string]any {
	context := map[string]any{
		"primaryUserPoolId": "ap-northeast-1_ExampleID",
		"secondaryRegion":   "us-west-2",
		"notificationEmail": "identity-team@example.com",
	}
	for key, value := range changes {
		if value == nil {
			delete(context, key)
			continue
		}
		context[key] = value
	}
	return context
}

func TestDefaults(t *testing.T) {
	got, err := ParseParameters(minimal(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := Parameters{
		PrimaryUserPoolID:   "ap-northeast-1_ExampleID",
		PrimaryRegion:       "ap-northeast-1",
		SecondaryRegion:     "us-west-2",
		NotificationEmails:  []string{"identity-team@example.com"},
		Schedule:            Schedule{"rate(1 day)", day},
		CognitoTPS:          10,
		SNSPreference:       InfoAndErrors,
		RetentionDays:       35,
		MassDeletionPercent: 20,
		ExportShards:        1,
		StackPrefix:         "CognitoBackup",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAcceptedValues(t *testing.T) {
	tests := []struct {
		name    string
		changes map[string]any
		field   func(Parameters) any
		want    any
	}{
		{"pool id of the next generation", map[string]any{"primaryUserPoolId": "us-east-1_1898fcae2bf248c2a7f6ce56eefe4f9c"},
			func(p Parameters) any { return p.PrimaryRegion }, "us-east-1"},
		{"pool id of another partition", map[string]any{"primaryUserPoolId": "us-gov-west-1_abc", "secondaryRegion": "us-gov-east-1"},
			func(p Parameters) any { return p.PrimaryRegion }, "us-gov-west-1"},
		{"several addresses", map[string]any{"notificationEmail": "a@example.com, b@example.org,"},
			func(p Parameters) any { return p.NotificationEmails }, []string{"a@example.com", "b@example.org"}},
		{"addresses in a list", map[string]any{"notificationEmail": []any{"a@example.com", "b@example.org"}},
			func(p Parameters) any { return p.NotificationEmails }, []string{"a@example.com", "b@example.org"}},
		{"number as JSON", map[string]any{"cognitoTps": float64(25)}, func(p Parameters) any { return p.CognitoTPS }, 25},
		{"number as text", map[string]any{"cognitoTps": "25"}, func(p Parameters) any { return p.CognitoTPS }, 25},
		{"no limit above", map[string]any{"cognitoTps": "5000"}, func(p Parameters) any { return p.CognitoTPS }, 5000},
		{"errors only", map[string]any{"snsPreference": "ERRORS_ONLY"}, func(p Parameters) any { return p.SNSPreference }, ErrorsOnly},
		{"a day", map[string]any{"retentionDays": "1"}, func(p Parameters) any { return p.RetentionDays }, 1},
		{"ten years", map[string]any{"retentionDays": float64(3650)}, func(p Parameters) any { return p.RetentionDays }, 3650},
		{"guard off", map[string]any{"massDeletionPercent": "100"}, func(p Parameters) any { return p.MassDeletionPercent }, 100},
		{"shards", map[string]any{"exportShards": "16"}, func(p Parameters) any { return p.ExportShards }, 16},
		{"keys as JSON", map[string]any{"customerManagedKeys": true}, func(p Parameters) any { return p.CustomerManagedKeys }, true},
		{"keys as text", map[string]any{"customerManagedKeys": "true"}, func(p Parameters) any { return p.CustomerManagedKeys }, true},
		{"import pools", map[string]any{"importUserPoolIds": "us-west-2_abc,ap-northeast-1_ExampleID,us-west-2_abc"},
			func(p Parameters) any { return p.ImportUserPoolIDs }, []string{"us-west-2_abc", "ap-northeast-1_ExampleID"}},
		{"prefix", map[string]any{"stackPrefix": "Shop-2"}, func(p Parameters) any { return p.StackPrefix }, "Shop-2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := ParseParameters(minimal(test.changes))
			if err != nil {
				t.Fatal(err)
			}
			if got := test.field(p); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

const (
	poolAccepted   = "a user pool id such as ap-northeast-1_AbCdEfGhI, at most 55 characters"
	prefixAccepted = "1 to 35 letters, digits and hyphens, beginning with a letter and not ending with a hyphen"
	emailAccepted  = "one e-mail address or several, comma-separated"
	tpsAccepted    = "a whole number from 1"
)

// TestRefusedValues has at least one wrong value of every parameter.
func TestRefusedValues(t *testing.T) {
	tests := []struct {
		key  string
		give any
		want string
	}{
		{"primaryUserPoolId", nil, "primaryUserPoolId: not given; accepted: " + poolAccepted},
		{"primaryUserPoolId", "", `primaryUserPoolId: given ""; accepted: ` + poolAccepted},
		{"primaryUserPoolId", "ExampleID", `primaryUserPoolId: given "ExampleID"; accepted: ` + poolAccepted},
		{"primaryUserPoolId", "tokyo_ExampleID", `primaryUserPoolId: given "tokyo_ExampleID"; accepted: ` + poolAccepted},
		{"primaryUserPoolId", "us-east-1_with-hyphen", `primaryUserPoolId: given "us-east-1_with-hyphen"; accepted: ` + poolAccepted},
		{"primaryUserPoolId", "us-east-1_" + strings.Repeat("a", 46),
			`primaryUserPoolId: given "us-east-1_` + strings.Repeat("a", 46) + `"; accepted: ` + poolAccepted},
		{"primaryUserPoolId", 7.0, `primaryUserPoolId: given 7; accepted: ` + poolAccepted},
		{"secondaryRegion", nil, "secondaryRegion: not given; accepted: a Region such as us-west-2"},
		{"secondaryRegion", "Oregon", `secondaryRegion: given "Oregon"; accepted: a Region such as us-west-2`},
		{"secondaryRegion", "ap-northeast-1",
			`secondaryRegion: given "ap-northeast-1"; accepted: a Region other than ap-northeast-1, the Region of the primary user pool`},
		{"secondaryRegion", "cn-north-1",
			`secondaryRegion: given "cn-north-1"; accepted: a Region of the same partition as ap-northeast-1 (aws), because a global table cannot leave it`},
		{"notificationEmail", nil, "notificationEmail: not given; accepted: " + emailAccepted},
		{"notificationEmail", " , ", `notificationEmail: given " , "; accepted: ` + emailAccepted},
		{"notificationEmail", "a@example.com,nobody", `notificationEmail: given "nobody"; accepted: ` + emailAccepted},
		{"notificationEmail", "a@localhost", `notificationEmail: given "a@localhost"; accepted: ` + emailAccepted},
		{"notificationEmail", []any{"a@example.com", 1.0}, `notificationEmail: given ["a@example.com",1]; accepted: ` + emailAccepted},
		{"exportFrequency", "DAILY", `exportFrequency: given "DAILY"; accepted: ` + scheduleAccepted},
		{"exportFrequency", "rate(0 days)", `exportFrequency: given "rate(0 days)"; accepted: ` + scheduleAccepted},
		{"exportFrequency", "cron(0 25 * * ? *)", `exportFrequency: given "cron(0 25 * * ? *)"; accepted: ` + scheduleAccepted},
		{"cognitoTps", "ten", `cognitoTps: given "ten"; accepted: ` + tpsAccepted},
		{"cognitoTps", 0.0, `cognitoTps: given 0; accepted: ` + tpsAccepted},
		{"cognitoTps", 2.5, `cognitoTps: given 2.5; accepted: ` + tpsAccepted},
		{"snsPreference", "info_and_errors", `snsPreference: given "info_and_errors"; accepted: INFO_AND_ERRORS, ERRORS_ONLY`},
		{"retentionDays", "0", `retentionDays: given "0"; accepted: a whole number from 1 to 3650`},
		{"retentionDays", 3651.0, `retentionDays: given 3651; accepted: a whole number from 1 to 3650`},
		{"massDeletionPercent", "101", `massDeletionPercent: given "101"; accepted: a whole number from 1 to 100`},
		{"exportShards", "4", `exportShards: given "4"; accepted: 1, or 16 to list users by the first digit of their sub, side by side`},
		{"customerManagedKeys", "yes", `customerManagedKeys: given "yes"; accepted: false, true`},
		{"importUserPoolIds", "us-west-2_abc,any", `importUserPoolIds: given "any"; accepted: user pool ids, comma-separated`},
		{"importUserPoolIds", "eu-west-1_abc",
			`importUserPoolIds: given "eu-west-1_abc"; accepted: pools of ap-northeast-1 or us-west-2, where the ImportWorkflow runs`},
		{"stackPrefix", "Cognito Backup", `stackPrefix: given "Cognito Backup"; accepted: ` + prefixAccepted},
		{"stackPrefix", "1st", `stackPrefix: given "1st"; accepted: ` + prefixAccepted},
		{"stackPrefix", "Backup-", `stackPrefix: given "Backup-"; accepted: ` + prefixAccepted},
		{"stackPrefix", strings.Repeat("p", 36), `stackPrefix: given "` + strings.Repeat("p", 36) + `"; accepted: ` + prefixAccepted},
		{"stackPrefix", []any{"A"}, `stackPrefix: given ["A"]; accepted: ` + prefixAccepted},
	}
	refused := map[string]bool{}
	for _, test := range tests {
		refused[test.key] = true
		t.Run(test.key+" "+compact(test.give), func(t *testing.T) {
			_, err := ParseParameters(minimal(map[string]any{test.key: test.give}))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	for _, key := range contextKeys {
		if !refused[key] {
			t.Errorf("no wrong value of %s is tried", key)
		}
	}
}

// TestSpellingOfTheRetiredSolution is refused, because a key that nobody reads
// would leave a default in force.
func TestSpellingOfTheRetiredSolution(t *testing.T) {
	_, err := ParseParameters(minimal(map[string]any{"CognitoTPS": "15"}))
	want := "CognitoTPS: not a key of this app; accepted: cognitoTps"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	context := map[string]any{}
	for _, key := range contextKeys {
		context[key] = "?"
	}
	_, err := ParseParameters(context)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(contextKeys) {
		t.Fatalf("%d lines for %d wrong values:\n%v", len(lines), len(contextKeys), err)
	}
	for i, key := range contextKeys {
		_, alone := ParseParameters(minimal(map[string]any{key: "?"}))
		if alone == nil || !strings.HasPrefix(lines[i], key+`: given "?"; accepted: `) || lines[i] != alone.Error() {
			t.Errorf("line %d is %q; alone this value is refused with %v", i+1, lines[i], alone)
		}
	}
}

// TestTheExampleIsMinimal keeps cdk.json an example that works.
func TestTheExampleIsMinimal(t *testing.T) {
	context, err := exampleContext()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseParameters(context); err != nil {
		t.Error(err)
	}
	flags := 0
	for key := range maps.Keys(context) {
		if strings.HasPrefix(key, "@aws-cdk") {
			flags++
		}
	}
	if flags < 80 || context["@aws-cdk/core:validateAgainstDefaultRules"] != true {
		t.Errorf("%d feature flags of the CDK, validateAgainstDefaultRules %v; want those of a new app",
			flags, context["@aws-cdk/core:validateAgainstDefaultRules"])
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		changes map[string]any
		want    []string
	}{
		{nil, nil},
		{map[string]any{"cognitoTps": "25"}, nil},
		{map[string]any{"cognitoTps": "40"}, []string{"cognitoTps 40 is above the documented quotas of the account, which the pool's applications share: " +
			"UserUpdate 25 (cannot be raised), UserList 30 (cannot be raised), UserAccountRecovery 30 (cannot be raised). " +
			"The workflows yield when Cognito throttles, but so will sign-ins; leave room for them."}},
		{map[string]any{"importUserPoolIds": "us-west-2_abc"},
			[]string{"importUserPoolIds names no pool of ap-northeast-1: the ImportWorkflow there may restore into none."}},
	}
	for _, test := range tests {
		p, err := ParseParameters(minimal(test.changes))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.warnings(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v:\ngot  %q\nwant %q", test.changes, got, test.want)
		}
	}
}
