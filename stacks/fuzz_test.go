package stacks

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParameters: whatever stands in cdk.json or after -c is accepted within
// its bounds, or refused with one line for each problem.
func FuzzParameters(f *testing.F) {
	for _, context := range []string{
		`{}`, `{"primaryUserPoolId":"eu-west-1_Example01","secondaryRegion":"us-west-2","notificationEmail":"ops@example.com"}`,
		`{"primaryUserPoolId":"eu-west-1_A","secondaryRegion":"eu-west-1","notificationEmail":"a@example.com, b@example.com","cognitoTps":"25"}`,
		`{"primaryUserPoolId":"eu-west-1_A","secondaryRegion":"us-east-1","notificationEmail":["a@example.com"],"cognitoTps":1e3,"exportShards":16,"retentionDays":"0x10"}`,
		`{"primaryUserPoolId":7,"exportFrequency":"rate(1 day)","snsPreference":"ERRORS_ONLY","customerManagedKeys":true,"importUserPoolIds":"us-west-2_A,us-west-2_B"}`,
		`{"exportFrequency":"cron(0 9 ? * MON *)","stackPrefix":"-x","massDeletionPercent":101,"CognitoTPS":10}`,
		`{"exportFrequency":"rate(0 days)","stackPrefix":"` + strings.Repeat("a", 36) + `","notificationEmail":""}`,
	} {
		f.Add([]byte(context))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var context map[string]any
		if json.Unmarshal(raw, &context) != nil {
			t.Skip("the CDK hands over JSON")
		}
		p, err := ParseParameters(context)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if strings.TrimSpace(line) == "" || !utf8.ValidString(line) {
					t.Errorf("problem %q", line)
				}
			}
			return
		}
		if p.PrimaryRegion == "" || p.PrimaryRegion == p.SecondaryRegion || len(p.NotificationEmails) == 0 || p.Schedule == (Schedule{}) {
			t.Errorf("accepted: %+v", p)
		}
		if p.CognitoTPS < 1 || p.RetentionDays < 1 || p.RetentionDays > 3650 || p.MassDeletionPercent < 1 || p.MassDeletionPercent > 100 || p.ExportShards != 1 && p.ExportShards != 16 {
			t.Errorf("accepted: %+v", p)
		}
		if len(p.StackPrefix) == 0 || len(p.StackPrefix) > maxPrefix {
			t.Errorf("prefix %q", p.StackPrefix)
		}
		// What is accepted can be written into cdk.json and is accepted as the same.
		var written map[string]any
		if err := json.Unmarshal([]byte(p.context()), &written); err != nil {
			t.Fatal(err)
		}
		if again, err := ParseParameters(written); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%+v written as %s became %+v (%v)", p, p.context(), again, err)
		}
		for _, w := range p.warnings() {
			if w == "" {
				t.Error("an empty warning")
			}
		}
	})
}
