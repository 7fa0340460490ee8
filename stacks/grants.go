package stacks

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
)

// allow adds statements to the role's policy, and for each wildcard in them
// the reason that cdk-nag asks for.
func (s *site) allow(role awsiam.Role, grants ...grant) {
	for _, g := range grants {
		props := &awsiam.PolicyStatementProps{
			Sid:       jsii.String(g.sid),
			Actions:   jsii.Strings(g.actions...),
			Resources: jsii.Strings(g.resources...),
		}
		if g.conditions != nil {
			props.Conditions = &g.conditions
		}
		role.AddToPolicy(awsiam.NewPolicyStatement(props))
		for _, resource := range g.resources {
			if strings.Contains(resource, "*") && g.why != "" {
				suppress(policyOf(role), "AwsSolutions-IAM5", g.why, "Resource::"+strings.ReplaceAll(resource, *awscdk.Aws_ACCOUNT_ID(), "<AWS::AccountId>"))
			}
		}
	}
}

// policyOf is the policy that holds what a role was allowed.
func policyOf(role awsiam.Role) constructs.IConstruct {
	return role.Node().FindChild(jsii.String("DefaultPolicy"))
}

// dependOnPolicy makes a resource wait for its role's policy. The CDK has it
// wait for the role too, which CloudFormation's validation calls redundant.
func dependOnPolicy(resource constructs.IConstruct, role awsiam.Role) {
	stack := awscdk.Stack_Of(resource)
	policy := policyOf(role).Node().DefaultChild().(awscdk.CfnElement)
	resource.Node().DefaultChild().(awscdk.CfnResource).
		AddOverride(jsii.String("DependsOn"), []*string{stack.GetLogicalId(policy)})
}

// suppressTracing explains the statements that the CDK adds for X-Ray and, to
// state machines, for the delivery of logs.
func suppressTracing(role awsiam.Role) {
	suppress(policyOf(role), "AwsSolutions-IAM5",
		"X-Ray and, for state machines, the delivery of logs to CloudWatch know no narrower resource than all of them.", "Resource::*")
}

// suppress tells cdk-nag why a finding on this one resource is accepted; with
// findings, those alone.
func suppress(construct constructs.IConstruct, rule, reason string, findings ...string) {
	suppression := &cdknag.NagPackSuppression{Id: jsii.String(rule), Reason: jsii.String(reason)}
	if len(findings) > 0 {
		applies := make([]any, len(findings))
		for i, finding := range findings {
			applies[i] = finding
		}
		suppression.AppliesTo = &applies
	}
	cdknag.NagSuppressions_AddResourceSuppressions(construct, &[]*cdknag.NagPackSuppression{suppression}, nil)
}
