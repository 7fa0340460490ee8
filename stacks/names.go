package stacks

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
)

// The state machines.
const (
	exportWorkflow = "ExportWorkflow"
	importWorkflow = "ImportWorkflow"
)

// The queues. Each has a dead-letter queue, see names.deadLetterQueue.
const (
	cleanUpQueue  = "CleanUpQueue"
	newUsersQueue = "NewUsersQueue"
	updatesQueue  = "UpdatesQueue"
)

// names are the names of one deployment, all of which begin with its prefix.
type names struct {
	prefix string
	// account is the account's number if it is known, else empty.
	account string
}

// of is <prefix>-<what>: stacks, functions, queues, state machines, alarms.
func (n names) of(what string) string { return n.prefix + "-" + what }

func (n names) table() string { return n.of("BackupTable") }

func (n names) deadLetterQueue(queue string) string { return n.of(deadLetter(queue)) }

// deadLetter is the name of a queue's dead-letter queue, both without prefix.
func deadLetter(queue string) string {
	return strings.TrimSuffix(queue, "Queue") + "DeadLetterQueue"
}

// bucket names are unique among all accounts and have no upper case. The
// account is spelled out if it is known: CloudFormation takes over an existing
// resource only if the template has its name without any function in it.
func (n names) bucket(region string) string {
	account := n.account
	if account == "" {
		account = *awscdk.Aws_ACCOUNT_ID()
	}
	return strings.ToLower(n.prefix) + "-" + account + "-" + region
}

// keyAlias is the alias of a Region's customer-managed key. The primary
// Region's table names the secondary Region's key by it.
func (n names) keyAlias() string { return "alias/" + n.of("Backup") }

// keyExport is the name under which the secondary Region's key is known to the
// secondary stack, in the same Region.
func (n names) keyExport() string { return n.of("SecondaryKeyArn") }

// arn is an ARN of this account: service:region:account:resource.
func arn(service, region, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", partition(region), service, region, *awscdk.Aws_ACCOUNT_ID(), resource)
}
