package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/jsii-runtime-go"
)

// createTable makes the backup table and its replica. Both outlive the stack:
// a backup must not vanish with the tool that made it.
func (s *site) createTable() {
	table := awsdynamodb.NewTableV2(s.stack, jsii.String("BackupTable"), &awsdynamodb.TablePropsV2{
		TableName:    jsii.String(s.names.table()),
		PartitionKey: &awsdynamodb.Attribute{Name: jsii.String("id"), Type: awsdynamodb.AttributeType_STRING},
		SortKey:      &awsdynamodb.Attribute{Name: jsii.String("type"), Type: awsdynamodb.AttributeType_STRING},
		// Exports come once a day and change little: capacity on demand.
		Billing:            awsdynamodb.Billing_OnDemand(nil),
		Encryption:         s.tableEncryption(),
		DeletionProtection: jsii.Bool(true),
		// Also when its creation is rolled back: CloudFormation could not delete
		// it, being protected, and the next deployment can take it over.
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
		PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{
			PointInTimeRecoveryEnabled: jsii.Bool(true),
		},
		Replicas: &[]*awsdynamodb.ReplicaTableProps{{
			Region:             jsii.String(s.params.SecondaryRegion),
			DeletionProtection: jsii.Bool(true),
			PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{
				PointInTimeRecoveryEnabled: jsii.Bool(true),
			},
		}},
	})
	s.beforeSchedule = append(s.beforeSchedule, table)
}

func (s *site) tableEncryption() awsdynamodb.TableEncryptionV2 {
	if s.dataKey == nil {
		return awsdynamodb.TableEncryptionV2_AwsManagedKey()
	}
	// The alias, not the key's id: that would be a reference across Regions.
	alias := arn("kms", s.params.SecondaryRegion, s.names.keyAlias())
	return awsdynamodb.TableEncryptionV2_CustomerManagedKey(s.dataKey,
		&map[string]*string{s.params.SecondaryRegion: jsii.String(alias)})
}

func (s *site) tableARN() string { return s.arn("dynamodb", "table/"+s.names.table()) }
