package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// Props is what New needs.
type Props struct {
	Parameters Parameters
	// Assets is the folder that holds <step>/bootstrap for every step.
	Assets string
	// Account is the account that is deployed to; empty if it is not known.
	// Nothing but the names of the buckets depends on it.
	Account string
}

// New adds the stacks of one deployment to the app.
func New(app awscdk.App, props Props) {
	primary := newPrimary(app, props)
	secondary := newSecondary(app, props)
	// The replica is made by the primary stack; the secondary stack names it.
	// The order is the only tie, and `cdk deploy --exclusively` cuts it.
	secondary.AddStackDependency(primary, jsii.String("the table's replica is created with the table"))

	if props.Parameters.CustomerManagedKeys {
		keys := newSecondaryKey(app, props)
		primary.AddStackDependency(keys, jsii.String("a replica is encrypted with its Region's key from the start"))
		secondary.AddStackDependency(keys, jsii.String("bucket, queues and topic are encrypted with the key"))
	}
	for _, warning := range props.Parameters.warnings() {
		awscdk.Annotations_Of(primary).AddWarningV2(jsii.String("cognito-backup:parameters"), jsii.String(warning))
	}
}

// The tags of every resource that can have some.
const (
	tagPrefix   = "cognito-backup:prefix"
	tagUserPool = "cognito-backup:user-pool"
)

// site is one Region while its stack is being built: what later parts need to
// know about earlier ones.
type site struct {
	stack  awscdk.Stack
	params Parameters
	names  names
	region string
	assets string

	dataKey  awskms.IKey // of table, bucket, queues and topic; nil if AWS manages them
	topicKey awskms.IKey // of the topic; the data key if there is one

	bucket      awss3.IBucket
	queues      map[string]awssqs.IQueue // by name without prefix, dead-letter queues too
	topic       awssns.ITopic
	csvLogsRole awsiam.IRole
	functions   map[string]awslambda.IFunction // by step
	workflows   map[string]awsstepfunctions.IStateMachine
	dashboard   awscloudwatch.Dashboard
	alarms      []interfacesawscloudwatch.IAlarmRef

	// beforeSchedule is what must stand before the first export starts, which
	// may be the moment the schedule is created.
	beforeSchedule []constructs.IConstruct
}

func newSite(app awscdk.App, props Props, name, region, description string) *site {
	p := props.Parameters
	n := names{p.StackPrefix, props.Account}
	stack := awscdk.NewStack(app, jsii.String(n.of(name)), &awscdk.StackProps{
		// No account: synthesis needs none, and only names.bucket spells it out.
		Env:         &awscdk.Environment{Region: jsii.String(region)},
		Description: jsii.String(description),
	})
	tags := awscdk.Tags_Of(stack)
	tags.Add(jsii.String(tagPrefix), jsii.String(p.StackPrefix), nil)
	tags.Add(jsii.String(tagUserPool), jsii.String(p.PrimaryUserPoolID), nil)
	return &site{
		stack:     stack,
		params:    p,
		names:     n,
		region:    region,
		assets:    props.Assets,
		queues:    map[string]awssqs.IQueue{},
		functions: map[string]awslambda.IFunction{},
		workflows: map[string]awsstepfunctions.IStateMachine{},
	}
}

func (s *site) isPrimary() bool { return s.region == s.params.PrimaryRegion }

// arn is an ARN of this site's Region and account.
func (s *site) arn(service, resource string) string { return arn(service, s.region, resource) }

// ref is the ARN of one of this deployment's resources, built from its name.
func (s *site) ref(service, kind, what string) string { return s.arn(service, kind+s.names.of(what)) }
