package stacks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// SNSPreference says which outcomes of a workflow people are told about.
type SNSPreference string

// The values that snsPreference accepts.
const (
	InfoAndErrors SNSPreference = "INFO_AND_ERRORS"
	ErrorsOnly    SNSPreference = "ERRORS_ONLY"
)

// Parameters are the deployment parameters after validation. ParseParameters
// is the only way to make them, so the rest of the package trusts every field.
type Parameters struct {
	PrimaryUserPoolID   string
	PrimaryRegion       string // from the pool id
	SecondaryRegion     string
	NotificationEmails  []string
	Schedule            Schedule
	CognitoTPS          int // requests per second and quota category
	SNSPreference       SNSPreference
	RetentionDays       int
	MassDeletionPercent int // 100 switches the guard off
	ExportShards        int // 1 or 16
	CustomerManagedKeys bool
	ImportUserPoolIDs   []string // empty: any pool of the account
	StackPrefix         string
}

// The context keys.
const (
	keyPrimaryUserPoolID   = "primaryUserPoolId"
	keySecondaryRegion     = "secondaryRegion"
	keyNotificationEmail   = "notificationEmail"
	keyExportFrequency     = "exportFrequency"
	keyCognitoTPS          = "cognitoTps"
	keySNSPreference       = "snsPreference"
	keyRetentionDays       = "retentionDays"
	keyMassDeletionPercent = "massDeletionPercent"
	keyExportShards        = "exportShards"
	keyCustomerManagedKeys = "customerManagedKeys"
	keyImportUserPoolIDs   = "importUserPoolIds"
	keyStackPrefix         = "stackPrefix"
)

// contextKeys is every key this app reads, in the order in which problems are
// reported.
var contextKeys = []string{
	keyPrimaryUserPoolID, keySecondaryRegion, keyNotificationEmail, keyExportFrequency,
	keyCognitoTPS, keySNSPreference, keyRetentionDays, keyMassDeletionPercent,
	keyExportShards, keyCustomerManagedKeys, keyImportUserPoolIDs, keyStackPrefix,
}

const (
	// maxPoolID is UserPoolIdType's maximum in the API model of Cognito.
	maxPoolID = 55
	// maxPrefix leaves room for the longest name built from it: the bucket,
	// <prefix>-<account: 12>-<region: up to 14>, has at most 63 characters.
	maxPrefix = 35
)

var (
	// poolIDPattern is UserPoolIdType of the API model, its Region named.
	poolIDPattern = regexp.MustCompile(`^([\w-]+)_[0-9a-zA-Z]+$`)
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	emailPattern  = regexp.MustCompile(`^[^@\s,;<>"]+@[^@\s,;<>".]+(\.[^@\s,;<>".]+)+$`)
	prefixPattern = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
)

// ParseParameters reads the deployment parameters from CDK context. Values may
// be JSON, as in cdk.json, or text, as after -c. The error joins every problem
// found, one line each: the key, what was given and what is accepted.
func ParseParameters(context map[string]any) (Parameters, error) {
	r := &contextReader{context: context}
	p := Parameters{
		PrimaryUserPoolID: r.poolID(keyPrimaryUserPoolID),
		SecondaryRegion: r.text(keySecondaryRegion, "", "a Region such as us-west-2",
			regionPattern.MatchString),
		NotificationEmails: r.list(keyNotificationEmail, true, "one e-mail address or several, comma-separated",
			emailPattern.MatchString),
		Schedule:            r.schedule(keyExportFrequency),
		CognitoTPS:          r.number(keyCognitoTPS, 10, 1, 0),
		SNSPreference:       SNSPreference(r.oneOf(keySNSPreference, string(InfoAndErrors), string(ErrorsOnly))),
		RetentionDays:       r.number(keyRetentionDays, 35, 1, 3650),
		MassDeletionPercent: r.number(keyMassDeletionPercent, 20, 1, 100),
		ExportShards:        r.shards(keyExportShards),
		CustomerManagedKeys: r.oneOf(keyCustomerManagedKeys, "false", "true") == "true",
		ImportUserPoolIDs: r.list(keyImportUserPoolIDs, false, "user pool ids, comma-separated",
			func(id string) bool { return poolRegion(id) != "" }),
		StackPrefix: r.text(keyStackPrefix, "CognitoBackup",
			fmt.Sprintf("1 to %d letters, digits and hyphens, beginning with a letter and not ending with a hyphen", maxPrefix),
			func(s string) bool { return len(s) <= maxPrefix && prefixPattern.MatchString(s) }),
	}
	p.PrimaryRegion = poolRegion(p.PrimaryUserPoolID)
	r.regions(p)
	r.misspelled()
	if err := errors.Join(r.sorted()...); err != nil {
		return Parameters{}, err
	}
	return p, nil
}

// context is the parameters as the context of cdk.json that makes them.
func (p Parameters) context() string {
	context := map[string]any{
		keyPrimaryUserPoolID:   p.PrimaryUserPoolID,
		keySecondaryRegion:     p.SecondaryRegion,
		keyNotificationEmail:   strings.Join(p.NotificationEmails, ","),
		keyExportFrequency:     p.Schedule.Expression,
		keyCognitoTPS:          p.CognitoTPS,
		keySNSPreference:       p.SNSPreference,
		keyRetentionDays:       p.RetentionDays,
		keyMassDeletionPercent: p.MassDeletionPercent,
		keyExportShards:        p.ExportShards,
		keyCustomerManagedKeys: p.CustomerManagedKeys,
		keyStackPrefix:         p.StackPrefix,
	}
	if len(p.ImportUserPoolIDs) > 0 {
		context[keyImportUserPoolIDs] = strings.Join(p.ImportUserPoolIDs, ",")
	}
	return quote(context)
}

// quotas are the documented default request rates, per second, of the
// categories in which the workflows make calls by the thousand; those marked
// fixed cannot be raised.
var quotas = []struct {
	category string
	rps      int
	fixed    bool
}{
	{"UserUpdate", 25, true},
	{"UserList", 30, true},
	{"UserAccountRecovery", 30, true},
	{"UserCreation", 50, false},
}

// warnings are what deserves a second look though it is accepted.
func (p Parameters) warnings() []string {
	var warnings []string
	var above []string
	for _, q := range quotas {
		if p.CognitoTPS > q.rps {
			limit := fmt.Sprintf("%s %d", q.category, q.rps)
			if q.fixed {
				limit += " (cannot be raised)"
			}
			above = append(above, limit)
		}
	}
	if above != nil {
		warnings = append(warnings, fmt.Sprintf("%s %d is above the documented quotas of the account, which the pool's applications share: %s. "+
			"The workflows yield when Cognito throttles, but so will sign-ins; leave room for them.", keyCognitoTPS, p.CognitoTPS, strings.Join(above, ", ")))
	}
	for _, region := range []string{p.PrimaryRegion, p.SecondaryRegion} {
		if len(p.ImportUserPoolIDs) > 0 && !slices.ContainsFunc(p.ImportUserPoolIDs, func(id string) bool { return poolRegion(id) == region }) {
			warnings = append(warnings, fmt.Sprintf("%s names no pool of %s: the ImportWorkflow there may restore into none.", keyImportUserPoolIDs, region))
		}
	}
	return warnings
}

// poolRegion is the Region that a pool id begins with, empty if it is not a
// pool id.
func poolRegion(id string) string {
	m := poolIDPattern.FindStringSubmatch(id)
	if m == nil || len(id) > maxPoolID || !regionPattern.MatchString(m[1]) {
		return ""
	}
	return m[1]
}

// partition is the group of Regions that share accounts; a global table cannot
// span two of them.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// contextReader collects problems instead of stopping at the first.
type contextReader struct {
	context  map[string]any
	problems []problem
}

type problem struct {
	key string
	err error
}

func (r *contextReader) reject(key string, given any, accepted string) {
	got := "not given"
	if given != nil {
		got = "given " + quote(given)
	}
	r.problems = append(r.problems, problem{key, fmt.Errorf("%s: %s; accepted: %s", key, got, accepted)})
}

// sorted is the problems in the order of contextKeys.
func (r *contextReader) sorted() []error {
	slices.SortStableFunc(r.problems, func(a, b problem) int {
		return slices.Index(contextKeys, a.key) - slices.Index(contextKeys, b.key)
	})
	errs := make([]error, len(r.problems))
	for i, p := range r.problems {
		errs[i] = p.err
	}
	return errs
}

func quote(given any) string {
	text, err := json.Marshal(given)
	if err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(given))
	}
	return string(text)
}

// scalar is the value as text: cdk.json holds numbers and booleans, -c only text.
func (r *contextReader) scalar(key string) (text string, given any) {
	switch v := r.context[key].(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(v), v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), v
	case bool:
		return strconv.FormatBool(v), v
	default:
		return "\x00", v // a list or an object: no check accepts it
	}
}

func (r *contextReader) text(key, fallback, accepted string, valid func(string) bool) string {
	text, given := r.scalar(key)
	if given == nil && fallback != "" {
		return fallback
	}
	if given == nil || !valid(text) {
		r.reject(key, given, accepted)
		return ""
	}
	return text
}

func (r *contextReader) poolID(key string) string {
	return r.text(key, "", fmt.Sprintf("a user pool id such as ap-northeast-1_AbCdEfGhI, at most %d characters", maxPoolID),
		func(id string) bool { return poolRegion(id) != "" })
}

func (r *contextReader) oneOf(key, fallback string, others ...string) string {
	accepted := append([]string{fallback}, others...)
	return r.text(key, fallback, strings.Join(accepted, ", "), func(s string) bool { return slices.Contains(accepted, s) })
}

// number reads a whole number from low to high; a high of 0 is no limit.
func (r *contextReader) number(key string, fallback, low, high int) int {
	accepted := fmt.Sprintf("a whole number from %d to %d", low, high)
	if high == 0 {
		accepted = fmt.Sprintf("a whole number from %d", low)
	}
	text := r.text(key, strconv.Itoa(fallback), accepted, func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 32)
		return err == nil && n >= int64(low) && (high == 0 || n <= int64(high))
	})
	n, _ := strconv.Atoi(text)
	return n
}

func (r *contextReader) shards(key string) int {
	n, _ := strconv.Atoi(r.text(key, "1", "1, or 16 to list users by the first digit of their sub, side by side",
		func(s string) bool { return s == "1" || s == "16" }))
	return n
}

// list reads a JSON list or comma-separated text. Empty entries are forgiven,
// an empty list is not if the key is required.
func (r *contextReader) list(key string, required bool, accepted string, valid func(string) bool) []string {
	given := r.context[key]
	var items []string
	switch v := given.(type) {
	case nil:
	case string:
		items = strings.Split(v, ",")
	case []any:
		for _, item := range v {
			text, _ := item.(string)
			items = append(items, text)
			if text == "" {
				r.reject(key, given, accepted)
				return nil
			}
		}
	default:
		r.reject(key, given, accepted)
		return nil
	}
	var list []string
	for _, item := range items {
		if item = strings.TrimSpace(item); item == "" || slices.Contains(list, item) {
			continue
		}
		if !valid(item) {
			r.reject(key, item, accepted)
			continue
		}
		list = append(list, item)
	}
	if required && len(list) == 0 && !slices.ContainsFunc(r.problems, func(p problem) bool { return p.key == key }) {
		r.reject(key, given, accepted)
	}
	return list
}

func (r *contextReader) schedule(key string) Schedule {
	var schedule Schedule
	r.text(key, "EVERY_DAY", scheduleAccepted, func(s string) bool {
		parsed, err := ParseSchedule(s)
		schedule = parsed
		return err == nil
	})
	if schedule.Expression == "" {
		schedule, _ = ParseSchedule("EVERY_DAY")
	}
	return schedule
}

// regions checks what two parameters say together.
func (r *contextReader) regions(p Parameters) {
	if p.PrimaryRegion == "" || p.SecondaryRegion == "" {
		return
	}
	switch {
	case p.SecondaryRegion == p.PrimaryRegion:
		r.reject(keySecondaryRegion, p.SecondaryRegion,
			"a Region other than "+p.PrimaryRegion+", the Region of the primary user pool")
	case partition(p.SecondaryRegion) != partition(p.PrimaryRegion):
		r.reject(keySecondaryRegion, p.SecondaryRegion,
			"a Region of the same partition as "+p.PrimaryRegion+" ("+partition(p.PrimaryRegion)+"), because a global table cannot leave it")
	}
	for _, id := range p.ImportUserPoolIDs {
		if region := poolRegion(id); region != p.PrimaryRegion && region != p.SecondaryRegion {
			r.reject(keyImportUserPoolIDs, id, fmt.Sprintf("pools of %s or %s, where the ImportWorkflow runs", p.PrimaryRegion, p.SecondaryRegion))
		}
	}
}

// misspelled refuses a key that differs from one of ours by case alone, such
// as PrimaryUserPoolId, the spelling of the retired solution. Left alone it
// would be ignored, and a default would silently apply.
func (r *contextReader) misspelled() {
	for _, given := range slices.Sorted(maps.Keys(r.context)) {
		for _, key := range contextKeys {
			if given != key && strings.EqualFold(given, key) {
				r.problems = append(r.problems, problem{key, fmt.Errorf("%s: not a key of this app; accepted: %s", given, key)})
			}
		}
	}
}
