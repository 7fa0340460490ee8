// Package iam decides, as AWS would, whether a role may carry out an action:
// it evaluates the identity and resource policies found in the synthesized
// templates, and remembers which grant was used by what, so that a grant that
// nothing uses can be reported.
package iam

import (
	"encoding/json"

	"cognito-backup/test/localaws/wire"
)

// Set is every policy of the testbed's account: roles are global, and ARNs name
// their Region, so one set serves all Regions. It is safe for concurrent use.
type Set struct {
}

// New makes an empty set: nothing is allowed.
func New() *Set { return &Set{} }

// AddRole registers a role with its trust policy (AssumeRolePolicyDocument).
func (s *Set) AddRole(roleARN string, trust json.RawMessage) error { return nil }

// AddPolicy attaches a policy document (intrinsics resolved) to a role: an
// AWS::IAM::Policy, or one inline in AWS::IAM::Role. The error says what AWS
// would refuse the document for.
func (s *Set) AddPolicy(roleARN, name string, document json.RawMessage) error { return nil }

// AddManagedPolicy registers an AWS::IAM::ManagedPolicy to be attached by ARN.
func (s *Set) AddManagedPolicy(policyARN string, document json.RawMessage) error { return nil }

// AttachManagedPolicy attaches a managed policy to a role: one registered
// before, or one of AWS's own that CDK attaches to functions. An unknown one is
// an error.
func (s *Set) AttachManagedPolicy(roleARN, policyARN string) error { return nil }

// AddResourcePolicy attaches a policy to a resource: a bucket (its objects
// included), a queue, a topic, a table, a function or a key. A second one
// for the same resource is added to the first, as CloudFormation's
// AWS::Lambda::Permission statements are.
func (s *Set) AddResourcePolicy(resourceARN string, document json.RawMessage) error { return nil }

// LambdaPermission is an AWS::Lambda::Permission.
type LambdaPermission struct {
	Action        string // lambda:InvokeFunction
	Principal     string // events.amazonaws.com, or an account or role ARN
	SourceArn     string
	SourceAccount string
}

// AddLambdaPermission adds a statement to the policy of a function.
func (s *Set) AddLambdaPermission(functionARN string, p LambdaPermission) error { return nil }

// Decision is the outcome of an evaluation.
type Decision struct {
	Allowed bool
	Reason  string  // why not, in the words of AWS's message: "because no identity-based policy allows the sqs:SendMessage action"
	Grants  []Grant // what allowed it
}

// Allowed decides whether a role may carry out an action on a resource ("*"
// when the action has none). Role is the role's ARN; the empty role is the
// administrator, to whom everything is allowed. Keys of ctx are condition keys
// such as iam:PassedToService; values of a multi-valued key are separated by
// line breaks. Global keys (aws:SecureTransport, aws:PrincipalArn, …) need not be given.
func (s *Set) Allowed(role, action, resource string, ctx map[string]string) Decision {
	return Decision{Allowed: true}
}

// AllowedService decides whether an AWS service, for example
// events.amazonaws.com, may carry out an action by the resource's own policy
// (EventBridge invokes functions this way). ctx should hold aws:SourceArn.
func (s *Set) AllowedService(service, action, resource string, ctx map[string]string) Decision {
	return Decision{Allowed: true}
}

// CanAssume decides by the role's trust policy whether a service, for example
// lambda.amazonaws.com, may assume the role.
func (s *Set) CanAssume(service, roleARN string, ctx map[string]string) Decision {
	return Decision{Allowed: true}
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

// Unused lists every granted pair that no call has used so far, in the order of
// role, policy, statement.
func (s *Set) Unused() []Grant { return nil }

// Use is one (role, action, resource) that was asked for and the answer.
type Use struct {
	Role     string
	Action   string
	Resource string
	Allowed  bool
	Count    int
	Grants   []Grant
}

// Uses lists every distinct question asked, in order of role, action, resource.
func (s *Set) Uses() []Use { return nil }

// Message is AWS's message for a denial: "User: arn:aws:sts::…:assumed-role/…
// is not authorized to perform: … on resource: … because …".
func Message(p wire.Principal, action, resource string, d Decision) string { return "" }

// Denied is the error a service answers to a denied call, with the code and
// status of the service that the action belongs to.
func Denied(p wire.Principal, action, resource string, d Decision) *wire.Error { return nil }
