// Package localaws is the local testbed: it deploys the synthesized templates
// as they are, on this machine, and runs the functions built from the same
// sources as those that Lambda would run.
//
// A Bed is an account with as many Regions as the templates use. Its gateway is
// one HTTP listener on loopback that any AWS SDK or the AWS CLI reaches by
// AWS_ENDPOINT_URL. The gateway reads from the signature who calls, which
// Region and which service; it holds request and response against AWS's API
// models, enforces the IAM policies of the templates, injects faults, and
// hands the call to the service:
//
//	cognito-idp sqs sns states scheduler   written here (packages of that name)
//	dynamodb                               dynalite, one process per Region
//	s3                                     gofakes3
//	lambda                                 processes over the Lambda Runtime API
//	EventBridge, CloudFormation, IAM       no API, but played for the templates
//	sts                                    GetCallerIdentity
//
// Signatures are not verified, only read: everything stays on loopback.
package localaws
