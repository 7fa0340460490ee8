// Package iam decides, as AWS would, whether a role may carry out an action:
// it evaluates the identity and resource policies found in the synthesized
// templates, and remembers which grant was used by what, so that a grant that
// nothing uses can be reported.
//
// Left out, since no template here has them: permissions boundaries, service
// control policies, session policies, other accounts and federated principals.
package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Set is every policy of the testbed's account: roles are global, and ARNs name
// their Region, so one set serves all Regions. It is safe for concurrent use.
type Set struct {
	// Now tells the time for conditions on dates; time.Now unless set before use.
	Now func() time.Time

	mu        sync.Mutex
	roles     map[string]*role
	managed   map[string]json.RawMessage // documents by ARN
	resources map[string][]*policy       // by resource ARN
	uses      map[useKey]*Use
	denials   int
}

type role struct {
	trust    *policy
	policies []*policy
}

// New makes an empty set: nothing is allowed but to the administrator.
func New() *Set {
	return &Set{
		Now:       time.Now,
		roles:     map[string]*role{},
		managed:   map[string]json.RawMessage{},
		resources: map[string][]*policy{},
		uses:      map[useKey]*Use{},
	}
}

// AddRole registers a role with its trust policy (AssumeRolePolicyDocument).
func (s *Set) AddRole(roleARN string, trustPolicy json.RawMessage) error {
	p, err := parse("trust of "+roleARN, trustPolicy, trust)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role(roleARN).trust = p
	return nil
}

// AddPolicy attaches a policy document (intrinsics resolved) to a role: an
// AWS::IAM::Policy, or one inline in AWS::IAM::Role. The error says what AWS
// would refuse the document for.
func (s *Set) AddPolicy(roleARN, name string, document json.RawMessage) error {
	p, err := parse(name, document, identity)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.role(roleARN)
	r.policies = append(r.policies, p)
	return nil
}

// AddManagedPolicy registers an AWS::IAM::ManagedPolicy to be attached by ARN.
func (s *Set) AddManagedPolicy(policyARN string, document json.RawMessage) error {
	if _, err := parse(policyARN, document, identity); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.managed[policyARN] = document
	return nil
}

// awsManaged are the policies of AWS's own that CDK attaches, as published.
var awsManaged = map[string]string{
	"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}`,
	"arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess": `{"Version":"2012-10-17","Statement":[{"Sid":"AWSXRayDaemonWriteAccess","Effect":"Allow",
		"Action":["xray:PutTraceSegments","xray:PutTelemetryRecords","xray:GetSamplingRules","xray:GetSamplingTargets","xray:GetSamplingStatisticSummaries"],"Resource":["*"]}]}`,
	"arn:aws:iam::aws:policy/CloudWatchLambdaInsightsExecutionRolePolicy": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"logs:CreateLogGroup","Resource":"*"},
		{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"arn:aws:logs:*:*:log-group:/aws/lambda-insights:*"}]}`,
}

// AttachManagedPolicy attaches a managed policy to a role: one registered
// before, or one of AWS's own that CDK attaches to functions. An unknown one is
// an error.
func (s *Set) AttachManagedPolicy(roleARN, policyARN string) error {
	s.mu.Lock()
	document, ok := s.managed[policyARN]
	s.mu.Unlock()
	if !ok {
		document = json.RawMessage(awsManaged[policyARN])
	}
	if len(document) == 0 {
		return fmt.Errorf("managed policy %s is not known here", policyARN)
	}
	// Parsed anew for each role, since usage is counted per role.
	return s.AddPolicy(roleARN, policyARN[strings.LastIndex(policyARN, "/")+1:], document)
}

// AddResourcePolicy attaches a policy to a resource: a bucket (its objects
// included), a queue, a topic, a table, a function or a key. A second one for
// the same resource is added to the first.
func (s *Set) AddResourcePolicy(resourceARN string, document json.RawMessage) error {
	p, err := parse("policy of "+resourceARN, document, resource)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[resourceARN] = append(s.resources[resourceARN], p)
	return nil
}

// LambdaPermission is an AWS::Lambda::Permission.
type LambdaPermission struct {
	Action        string // lambda:InvokeFunction
	Principal     string // events.amazonaws.com, or an account or role ARN
	SourceArn     string
	SourceAccount string
}

// AddLambdaPermission adds a statement to the policy of a function.
func (s *Set) AddLambdaPermission(functionARN string, p LambdaPermission) error {
	principal := map[string]string{"AWS": p.Principal}
	if strings.HasSuffix(p.Principal, ".amazonaws.com") {
		principal = map[string]string{"Service": p.Principal}
	}
	conditions := map[string]map[string]string{}
	if p.SourceArn != "" {
		conditions["ArnLike"] = map[string]string{"aws:SourceArn": p.SourceArn}
	}
	if p.SourceAccount != "" {
		conditions["StringEquals"] = map[string]string{"aws:SourceAccount": p.SourceAccount}
	}
	document, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Effect": "Allow", "Principal": principal, "Action": p.Action, "Resource": functionARN, "Condition": conditions,
		}},
	})
	if err != nil {
		return err
	}
	return s.AddResourcePolicy(functionARN, document)
}

// role returns the role's entry, made when it is new. Callers hold the lock.
func (s *Set) role(arn string) *role {
	if s.roles[arn] == nil {
		s.roles[arn] = &role{}
	}
	return s.roles[arn]
}

// Decision is the outcome of an evaluation.
type Decision struct {
	Allowed bool
	Reason  string  // why not, in the words of AWS's message: "because no identity-based policy allows the sqs:sendmessage action"
	Grants  []Grant // what allowed it; empty for the administrator
}

// The reasons of AWS's messages.
const (
	identityDeny = "with an explicit deny in an identity-based policy"
	resourceDeny = "with an explicit deny in a resource-based policy"
	noIdentity   = "because no identity-based policy allows the %s action"
	noResource   = "because no resource-based policy allows the %s action"
)

// Allowed decides whether a role may carry out an action on a resource ("*"
// when the action has none). Role is the role's ARN; the empty role is the
// administrator, to whom everything is allowed. Keys of ctx are condition keys
// such as iam:PassedToService; values of a multi-valued key are separated by
// line breaks. Global keys (aws:SecureTransport, aws:PrincipalArn, …) need not
// be given.
func (s *Set) Allowed(role, action, resource string, ctx map[string]string) Decision {
	if role == "" {
		return Decision{Allowed: true}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.context(resource, ctx, context{
		"aws:principalarn":          role,
		"aws:principalaccount":      accountOf(role),
		"aws:principaltype":         "AssumedRole",
		"aws:principalisawsservice": "false",
	})
	q := question{role: role, action: action, resource: resource, keys: keys}

	var own []*policy
	if r := s.roles[role]; r != nil {
		own = r.policies
	}
	byRole := evaluate(own, q)
	byResource := evaluate(s.policiesOf(resource), q)
	d := Decision{}
	switch {
	case byRole.denied:
		d.Reason = identityDeny
	case byResource.denied:
		d.Reason = resourceDeny
	case len(byResource.allowed) > 0:
		d.Allowed = true
	case len(byRole.allowed) > 0 && s.delegated(q):
		d.Allowed = true
	case len(byRole.allowed) > 0:
		d.Reason = fmt.Sprintf(noResource, spelled(action))
	default:
		d.Reason = fmt.Sprintf(noIdentity, spelled(action))
	}
	if d.Allowed {
		d.Grants = append(byRole.use(role), byResource.use(role)...)
	}
	s.record(q, d)
	return d
}

// AllowedService decides whether an AWS service, for example
// events.amazonaws.com, may carry out an action by the resource's own policy
// (EventBridge invokes functions this way). ctx should hold aws:SourceArn.
func (s *Set) AllowedService(service, action, resource string, ctx map[string]string) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := question{service: service, action: action, resource: resource, keys: s.serviceContext(service, resource, ctx)}
	outcome := evaluate(s.policiesOf(resource), q)
	d := Decision{}
	switch {
	case outcome.denied:
		d.Reason = resourceDeny
	case len(outcome.allowed) > 0:
		d.Allowed = true
		d.Grants = outcome.use(service)
	default:
		d.Reason = fmt.Sprintf(noResource, spelled(action))
	}
	s.record(q, d)
	return d
}

// CanAssume decides by the role's trust policy whether a service, for example
// lambda.amazonaws.com, may assume the role.
func (s *Set) CanAssume(service, roleARN string, ctx map[string]string) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	const action = "sts:AssumeRole"
	d := Decision{Reason: "because the role does not exist"}
	if r := s.roles[roleARN]; r != nil && r.trust != nil {
		q := question{service: service, action: action, resource: roleARN, keys: s.serviceContext(service, roleARN, ctx)}
		outcome := evaluate([]*policy{r.trust}, q)
		switch {
		case outcome.denied:
			d.Reason = resourceDeny
		case len(outcome.allowed) > 0:
			return Decision{Allowed: true, Grants: outcome.use(service)}
		default:
			d.Reason = fmt.Sprintf(noResource, action)
		}
	}
	return d
}

func (s *Set) serviceContext(service, resource string, ctx map[string]string) context {
	return s.context(resource, ctx, context{
		"aws:principalisawsservice": "true",
		"aws:principalservicename":  service,
		"aws:sourceaccount":         wire.Account,
	})
}

// context is what every request carries, what this principal carries and what
// the caller adds.
func (s *Set) context(resource string, ctx map[string]string, principal context) context {
	now := s.Now().UTC()
	keys := context{
		"aws:securetransport": "true", // as every client of AWS would; the testbed itself is plain HTTP on loopback
		"s3:tlsversion":       "1.3",
		"aws:viaawsservice":   "false",
		"aws:currenttime":     now.Format(time.RFC3339),
		"aws:epochtime":       strconv.FormatInt(now.Unix(), 10),
		"aws:resourceaccount": accountOf(resource),
		"s3:resourceaccount":  accountOf(resource),
	}
	if parts := strings.SplitN(resource, ":", 6); len(parts) == 6 && parts[3] != "" {
		keys["aws:requestedregion"] = parts[3]
	}
	for key, value := range principal {
		keys[key] = value
	}
	for key, value := range ctx {
		keys[strings.ToLower(key)] = value
	}
	return keys
}

func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[4] != "" {
		return parts[4]
	}
	return wire.Account
}

// policiesOf returns the policies that speak about a resource: a bucket's about
// its objects too, a function's about its versions, a table's about its indexes.
func (s *Set) policiesOf(resource string) []*policy {
	policies := s.resources[resource]
	for arn, more := range s.resources {
		if rest, ok := strings.CutPrefix(resource, arn); ok && rest != "" && (rest[0] == '/' || rest[0] == ':') {
			policies = append(slices.Clip(policies), more...)
		}
	}
	return policies
}

// delegated reports whether identity policies count for the resource. They do,
// except for keys: only if the key's own policy hands the action to the account.
func (s *Set) delegated(q question) bool {
	if !strings.HasPrefix(q.action, "kms:") {
		return true
	}
	policies := s.policiesOf(q.resource)
	q.role, q.account = "", accountOf(q.resource)
	return len(policies) == 0 || len(evaluate(policies, q).allowed) > 0
}

// question is one thing asked of the policies. The principal is a role, a
// service, or the account as a whole.
type question struct {
	role, service, account string
	action, resource       string
	keys                   context
}

// outcome is what some policies answer.
type outcome struct {
	denied  bool
	allowed []hit
}

type hit struct {
	policy    *policy
	statement *statement
	pairs     [][2]string
}

func evaluate(policies []*policy, q question) outcome {
	var o outcome
	for _, p := range policies {
		for _, st := range p.statements {
			pairs := st.matches(q)
			if len(pairs) == 0 {
				continue
			}
			if !st.allow {
				o.denied = true
				continue
			}
			o.allowed = append(o.allowed, hit{p, st, pairs})
		}
	}
	return o
}

// matches returns the pairs of action and resource pattern by which the
// statement speaks about the question.
func (st *statement) matches(q question) [][2]string {
	if st.principals != nil && !st.principals.match(q, st.allow) {
		return nil
	}
	actions := st.actions.matching(q.action, func(pattern, value string) bool {
		return glob(strings.ToLower(value), strings.ToLower(pattern))
	})
	if len(actions) == 0 {
		return nil
	}
	resources := st.resources.matching(q.resource, func(pattern, value string) bool {
		resolved, ok := q.keys.resolve(pattern, true)
		return ok && glob(value, resolved)
	})
	if len(resources) == 0 {
		return nil
	}
	for _, c := range st.conditions {
		if !c.holds(q.keys) {
			return nil
		}
	}
	var pairs [][2]string
	for _, a := range actions {
		for _, r := range resources {
			pairs = append(pairs, [2]string{a, r})
		}
	}
	return pairs
}

// match reports whether the principal is meant. The account's root stands for
// everybody in it when denying; when allowing it only lets identity policies
// count, which is no grant by itself.
func (p *principals) match(q question, allow bool) bool {
	if p.everyone {
		return !p.not
	}
	named := false
	switch {
	case q.service != "":
		named = slices.Contains(p.services, q.service)
	case q.account != "":
		named = p.root(q.account)
	default:
		named = slices.Contains(p.aws, q.role) || (!allow || p.not) && p.root(accountOf(q.role))
	}
	return named != p.not
}

func (p *principals) root(account string) bool {
	return slices.Contains(p.aws, account) || slices.Contains(p.aws, "arn:aws:iam::"+account+":root")
}

// use marks what allowed something and returns it.
func (o outcome) use(principal string) []Grant {
	var grants []Grant
	for _, h := range o.allowed {
		for _, pair := range h.pairs {
			h.statement.used[pair] = true
			grants = append(grants, h.statement.grant(principal, h.policy, pair))
		}
	}
	return grants
}

func (st *statement) grant(principal string, p *policy, pair [2]string) Grant {
	g := Grant{Role: principal, Policy: p.name, Sid: st.sid, Action: pair[0], Resource: pair[1], Condition: st.text}
	for used := range st.used {
		g.ActionUsed = g.ActionUsed || used[0] == pair[0]
		g.ResourceUsed = g.ResourceUsed || used[1] == pair[1]
	}
	return g
}

// Grant is one pair of action and resource pattern that a policy allows.
type Grant struct {
	Role      string // role ARN; for a resource policy the principal it names
	Policy    string // name of the policy, or "policy of <resource ARN>"
	Sid       string
	Action    string // the pattern as written: s3:GetObject*
	Resource  string // the pattern as written
	Condition string // the conditions as JSON, empty without any

	// A statement of several actions and resources grants every pair, though
	// not every pair makes sense (s3:GetObject on the bucket itself). These
	// tell whether action and resource are used in some other pair.
	ActionUsed   bool
	ResourceUsed bool
}

func (g Grant) String() string {
	return fmt.Sprintf("%s may %s on %s (%s)", g.Role, g.Action, g.Resource, g.Policy)
}

// Unused lists every granted pair that no call has used so far: of the roles in
// order of their ARNs, then of resource policies. Trust policies are not listed.
func (s *Set) Unused() []Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	var grants []Grant
	for _, arn := range sorted(s.roles) {
		for _, p := range s.roles[arn].policies {
			grants = append(grants, p.unused(arn)...)
		}
	}
	for _, arn := range sorted(s.resources) {
		for _, p := range s.resources[arn] {
			grants = append(grants, p.unused("")...)
		}
	}
	return grants
}

func (p *policy) unused(principal string) []Grant {
	var grants []Grant
	for _, st := range p.statements {
		if !st.allow {
			continue
		}
		name := principal
		if name == "" {
			name = st.principals.String()
		}
		for _, a := range st.actions.granted() {
			for _, r := range st.resources.granted() {
				if pair := [2]string{a, r}; !st.used[pair] {
					grants = append(grants, st.grant(name, p, pair))
				}
			}
		}
	}
	return grants
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// Use is one question that was asked, and the answer. Allowed questions that
// differ only in the resource and were granted by the same patterns are one use
// (a function reads thousands of objects of one bucket).
type Use struct {
	Role     string // role ARN or service
	Action   string
	Resource string // of the first such question
	Allowed  bool
	Reason   string // of a denial
	Count    int
	Grants   []Grant
}

type useKey struct {
	principal, action, by string
	allowed               bool
}

// maxDenials bounds what is remembered of denials, each of which names its
// resource.
const maxDenials = 1000

func (s *Set) record(q question, d Decision) {
	key := useKey{principal: q.role + q.service, action: q.action, by: q.resource, allowed: d.Allowed}
	if d.Allowed {
		var by strings.Builder
		for _, g := range d.Grants {
			by.WriteString(g.Policy + " " + g.Action + " " + g.Resource + "\n")
		}
		key.by = by.String()
	}
	u := s.uses[key]
	if u == nil {
		if !d.Allowed {
			if s.denials == maxDenials {
				return
			}
			s.denials++
		}
		u = &Use{Role: key.principal, Action: q.action, Resource: q.resource, Allowed: d.Allowed, Reason: d.Reason, Grants: d.Grants}
		s.uses[key] = u
	}
	u.Count++
}

// Uses lists what was asked so far, in order of role, action and resource.
func (s *Set) Uses() []Use {
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := make([]Use, 0, len(s.uses))
	for _, u := range s.uses {
		uses = append(uses, *u)
	}
	sort.Slice(uses, func(i, j int) bool {
		a, b := uses[i], uses[j]
		return a.Role+"\n"+a.Action+"\n"+a.Resource < b.Role+"\n"+b.Action+"\n"+b.Resource
	})
	return uses
}
