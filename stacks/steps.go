package stacks

import "github.com/aws/aws-cdk-go/awscdk/v2"

// A step is a function: the folder lambdas/<name>, what it is told in its
// environment and what it may do. Nothing is granted anywhere else, apart from
// what every function needs to log and trace.
type step struct {
	name        string
	does        string // the function's description
	memory      int    // MB
	primaryOnly bool
	env         []string // beyond commonEnv; see (*site).env
	grants      func(s *site) []grant
}

// A grant is one statement of a role's policy.
type grant struct {
	sid        string // what for
	actions    []string
	resources  []string
	conditions map[string]any
	// why there is no way around a wildcard in the resources, if there is one.
	why string
}

const (
	standardMemory = 512
	// largeMemory is for the steps that hold the keys of a whole pool:
	// 16 bytes and overhead for each of up to tens of millions.
	largeMemory = 3008
)

// commonEnv is what every step is told.
var commonEnv = []string{"STACK_PREFIX", "TABLE_NAME", "BUCKET_NAME", "PRIMARY_USER_POOL_ID", "SLICE_SECONDS"}

// steps is every step, in the order of the workflows.
var steps = []step{
	{
		name: "check-state-machine", does: "Takes the lease of the workflow", memory: standardMemory,
		grants: func(s *site) []grant {
			grants := []grant{
				s.onLease(),
				s.onExecutions("DescribeExecution"),
			}
			if s.isPrimary() { // where exports look whether the table is another pool's
				grants = append(grants, s.onRecords("RestorePoints", "EXPORT-*", "Query"))
			}
			return grants
		},
	},
	{
		name: "check-user-pool-config", does: "Backs up the pool's configuration and plans the export", memory: standardMemory,
		primaryOnly: true, env: []string{"COGNITO_TPS"},
		grants: func(s *site) []grant {
			return []grant{
				s.onLease(),
				s.onRecords("PoolRecords", "POOL-*", "BatchGetItem", "PutItem"),
				s.onRecords("RestorePoints", "EXPORT-*", "Query"),
				s.onPrimaryPool("DescribeIdentityProvider", "DescribeUserPool", "DescribeUserPoolClient",
					"GetUserPoolMfaConfig", "ListIdentityProviders", "ListResourceServers", "ListUserPoolClients"),
			}
		},
	},
	{
		name: "export-users", does: "Copies users from the pool to the backup table", memory: standardMemory,
		primaryOnly: true, env: []string{"COGNITO_TPS", "EXPORT_SHARDS"},
		grants: func(s *site) []grant {
			return []grant{
				s.onLease(),
				s.onRecords("UserRecords", "USER-*", "BatchGetItem", "PutItem"),
				s.onPrimaryPool("ListUsers"),
				s.onRunObjects("GetObject", "PutObject"),
			}
		},
	},
	{
		name: "list-groups", does: "Copies groups from the pool to the backup table", memory: standardMemory,
		primaryOnly: true, env: []string{"COGNITO_TPS"},
		grants: func(s *site) []grant {
			return []grant{
				s.onLease(),
				s.onRecords("GroupRecords", "GROUP-*", "BatchGetItem", "PutItem"),
				s.onPrimaryPool("ListGroups"),
				s.onRunObjects("GetObject", "PutObject"),
			}
		},
	},
	{
		name: "export-group-members", does: "Copies memberships from the pool to the backup table", memory: standardMemory,
		primaryOnly: true, env: []string{"COGNITO_TPS"},
		grants: func(s *site) []grant {
			return []grant{
				s.onLease(),
				s.onRecords("MembershipRecords", "GROUP_MEMBER-*", "BatchGetItem", "PutItem"),
				s.onPrimaryPool("ListUsers", "ListUsersInGroup"),
				s.onRunObjects("GetObject", "PutObject"),
			}
		},
	},
	{
		name: "clean-up-backup-table", does: "Marks what vanished, commits the restore point, removes what none needs", memory: largeMemory,
		primaryOnly: true,
		env:         []string{"COGNITO_TPS", "RETENTION_DAYS", "MASS_DELETION_PERCENT", "CLEAN_UP_QUEUE_URL"},
		grants: func(s *site) []grant {
			return []grant{
				s.onLease(),
				s.onTable("DeleteItem", "PutItem", "Scan"),
				s.onRecords("RestorePoints", "EXPORT-*", "Query"),
				s.onRunObjects("GetObject", "PutObject"),
				s.onListing("runs/"),
				s.onQueue(cleanUpQueue, "DeleteMessage", "ReceiveMessage", "SendMessage"),
			}
		},
	},
	{
		name: "check-new-user-pool", does: "Checks everything an import needs before anything is written", memory: standardMemory,
		env: []string{"COGNITO_TPS"},
		grants: func(s *site) []grant {
			return append(
				s.onTargetPools("DescribeUserPool", "GetCSVHeader", "ListIdentityProviders", "ListUserImportJobs", "ListUsers"),
				grant{sid: "ListPools", actions: []string{"cognito-idp:ListUserPools"}, resources: []string{"*"},
					why: "This action knows no resources. It shows in which pools to look for import jobs: an account has one active job at a time."},
				s.onLease(),
				s.onRecords("RestorePoints", "EXPORT-*", "Query"),
				s.onRecords("PoolRecords", "POOL-*", "Query"),
				s.onTable("Scan"),
				s.onRunObjects("GetObject", "PutObject"),
				s.onListsOfUsers(),
				s.onMissingObjects(),
			)
		},
	},
	{
		name: "scan-table", does: "Freezes the restore point into chunks, verifies it and queues them", memory: largeMemory,
		env: []string{"COGNITO_TPS", "NEW_USERS_QUEUE_URL"},
		grants: func(s *site) []grant {
			return append(
				s.onTargetPools("ListGroups", "ListUsers", "ListUsersInGroup"),
				s.onLease(),
				s.onRecords("Memberships", "GROUP_MEMBER-*", "Query"),
				s.onRecords("EarlierImports", "RESTORED-*", "BatchGetItem"),
				// of an incomplete table
				s.onRecords("Users", "USER-*", "BatchGetItem"),
				s.onRecords("Groups", "GROUP-*", "BatchGetItem"),
				s.onTable("Scan"),
				s.onRunObjects("GetObject", "PutObject"),
				s.onMissingObjects(),
				s.onQueue(newUsersQueue, "SendMessage"),
			)
		},
	},
	{
		name: "import-users", does: "Creates users by CSV import jobs and by the API", memory: standardMemory,
		env: []string{"COGNITO_TPS", "NEW_USERS_QUEUE_URL", "UPDATES_QUEUE_URL", "IMPORT_JOB_ROLE_ARN"},
		grants: func(s *site) []grant {
			return append(
				s.onTargetPools("AdminCreateUser", "AdminGetUser", "AdminSetUserPassword", "CreateUserImportJob", "DescribeUserImportJob",
					"ListUserImportJobs", "ListUsers", "StartUserImportJob", "StopUserImportJob"),
				grant{
					sid:        "HandLogsRoleToImportJobs",
					actions:    []string{"iam:PassRole"},
					resources:  []string{*s.csvLogsRole.RoleArn()},
					conditions: equals("iam:PassedToService", "cognito-idp.amazonaws.com"),
				},
				s.onLease(),
				s.onRunObjects("GetObject", "PutObject"),
				s.onMissingObjects(),
				s.onQueue(newUsersQueue, "DeleteMessage", "ReceiveMessage"),
				s.onQueue(updatesQueue, "SendMessage"),
			)
		},
	},
	{
		name: "update-users", does: "Restores groups, memberships, disabled flags and links", memory: standardMemory,
		env: []string{"COGNITO_TPS", "UPDATES_QUEUE_URL", "UPDATES_DEAD_LETTER_QUEUE_URL"},
		grants: func(s *site) []grant {
			pools := s.onTargetPools("AdminAddUserToGroup", "AdminDisableUser", "AdminLinkProviderForUser", "CreateGroup")
			if len(pools) > 0 {
				pools = append(pools, s.onGroupRoles())
			}
			return append(pools,
				s.onLease(),
				s.onRunObjects("GetObject", "PutObject"),
				s.onMissingObjects(),
				s.onQueue(updatesQueue, "DeleteMessage", "ReceiveMessage"),
				s.onQueue(deadLetter(updatesQueue), "SendMessage"),
			)
		},
	},
	{
		name: "verify-import", does: "Compares the target with the restore point, repairs, reports, tidies up", memory: largeMemory,
		env: []string{"COGNITO_TPS", "NEW_USERS_QUEUE_URL"},
		grants: func(s *site) []grant {
			return append(
				s.onTargetPools("ListGroups", "ListUsers", "ListUsersInGroup"),
				s.onLease(),
				s.onRecords("RecordOfNewSubs", "RESTORED-*", "PutItem"),
				s.onRunObjects("DeleteObjectVersion", "GetObject", "PutObject"),
				s.onReports("PutObject"),
				s.onMissingObjects(),
				s.onVersionListing("runs/"),
				s.onQueue(newUsersQueue, "SendMessage"),
			)
		},
	},
	{
		name: "send-message", does: "Tells people how a workflow ended, and gives its lease back", memory: standardMemory,
		env: []string{"TOPIC_ARN", "SNS_PREFERENCE"},
		grants: func(s *site) []grant {
			grants := []grant{
				{sid: "Notify", actions: []string{"sns:Publish"}, resources: []string{s.ref("sns", "", "Notifications")}},
				s.onExecutions("DescribeExecution", "GetExecutionHistory"),
				// of imports that did not come to their end
				s.onRunObjects("GetObject"),
				s.onReports("PutObject"),
				s.onMissingObjects(),
				s.onRecords("EndOfLease", s.leases(), "UpdateItem"),
			}
			if s.isPrimary() { // where there are exports to tell of
				grants = append(grants, s.onRecords("RestorePoints", "EXPORT-*", "Query"))
			}
			return grants
		},
	},
}

// steps is the steps of this Region.
func (s *site) steps() []step {
	var here []step
	for _, step := range steps {
		if s.isPrimary() || !step.primaryOnly {
			here = append(here, step)
		}
	}
	return here
}

// The grants below narrow each service to this deployment's own resources.

func (s *site) onTable(operations ...string) grant {
	return grant{sid: "BackupTable", actions: prefixed("dynamodb:", operations), resources: []string{s.tableARN()}}
}

// onRecords is the records whose ids look like one of a kind.
func (s *site) onRecords(sid, ids string, operations ...string) grant {
	g := s.onTable(operations...)
	g.sid = sid
	g.conditions = map[string]any{"ForAllValues:StringLike": map[string]any{"dynamodb:LeadingKeys": ids}}
	return g
}

// onLease is what every slice of every step does in the table: it takes its
// turn, and looks again before it writes.
func (s *site) onLease() grant {
	return s.onRecords("Lease", s.leases(), "GetItem", "UpdateItem")
}

// leases is the ids of this Region's leases.
func (s *site) leases() string { return "LEASE-" + s.region + "-*" }

func (s *site) onRunObjects(operations ...string) grant {
	return grant{sid: "RunObjects", actions: prefixed("s3:", operations), resources: []string{s.bucketARN("runs/*")},
		why: "The objects of a run are named after its execution. They are narrowed to runs/ in this deployment's own bucket."}
}

func (s *site) onReports(operations ...string) grant {
	return grant{sid: "Reports", actions: prefixed("s3:", operations), resources: []string{s.bucketARN("reports/*")},
		why: "The reports of a run are named after its execution. They are narrowed to reports/ in this deployment's own bucket."}
}

func (s *site) onListing(prefix string) grant {
	return grant{sid: "ListRunObjects", actions: []string{"s3:ListBucket"}, resources: []string{s.bucketARN()},
		conditions: like("s3:prefix", prefix+"*")}
}

// onMissingObjects lets a step learn that an object is not there: S3 answers
// NoSuchKey only to those who may list, and AccessDenied to others. Asking for
// an object names no prefix, hence IfExists.
func (s *site) onMissingObjects() grant {
	return grant{sid: "SeeThatObjectsAreMissing", actions: []string{"s3:ListBucket"}, resources: []string{s.bucketARN()},
		conditions: map[string]any{"StringLikeIfExists": map[string]any{"s3:prefix": "runs/*"}}}
}

// onListsOfUsers is the lists that people put into the bucket to have single
// users restored; where in the bucket is up to them.
func (s *site) onListsOfUsers() grant {
	return grant{sid: "ListsOfUsers", actions: []string{"s3:GetObject"}, resources: []string{s.bucketARN("*")},
		why: "Whoever restores single users may put the list of them anywhere in this deployment's own bucket."}
}

func (s *site) onVersionListing(prefix string) grant {
	return grant{sid: "ListVersionsToDelete", actions: []string{"s3:ListBucketVersions"}, resources: []string{s.bucketARN()},
		conditions: like("s3:prefix", prefix+"*")}
}

func (s *site) onQueue(queue string, operations ...string) grant {
	return grant{sid: queue, actions: prefixed("sqs:", operations), resources: []string{s.ref("sqs", "", queue)}}
}

// onExecutions is the executions of this Region's workflows.
func (s *site) onExecutions(operations ...string) grant {
	var resources []string
	for _, workflow := range s.liveWorkflows() {
		resources = append(resources, s.ref("states", "execution:", workflow)+":*")
	}
	return grant{sid: "Executions", actions: prefixed("states:", operations), resources: resources,
		why: "The names of executions are not known before they start. They are narrowed to those of this deployment's own state machines."}
}

func (s *site) onPrimaryPool(operations ...string) grant {
	return grant{sid: "SourcePool", actions: prefixed("cognito-idp:", operations), resources: []string{s.poolARN(s.params.PrimaryUserPoolID)}}
}

// onTargetPools is the pools an import may write to: any of this account in
// this Region, because the pool that replaces a lost one does not exist yet
// when this is deployed, or those of importUserPoolIds. There is no grant if
// none of these lies in this Region.
func (s *site) onTargetPools(operations ...string) []grant {
	pools := s.targetPools()
	if len(pools) == 0 {
		return nil
	}
	return []grant{{sid: "TargetPools", actions: prefixed("cognito-idp:", operations), resources: pools,
		why: "The pool that replaces a lost one does not exist yet at deployment. The parameter importUserPoolIds narrows this to named pools."}}
}

func (s *site) targetPools() []string {
	if len(s.params.ImportUserPoolIDs) == 0 {
		return []string{s.poolARN("*")}
	}
	var pools []string
	for _, id := range s.params.ImportUserPoolIDs {
		if poolRegion(id) == s.region {
			pools = append(pools, s.poolARN(id))
		}
	}
	return pools
}

// onGroupRoles lets a group be created with the IAM role it had. The roles are
// whatever the pool's owners chose, so only the service they may be handed to
// can be named here.
func (s *site) onGroupRoles() grant {
	return grant{
		sid:       "HandRolesToGroups",
		actions:   []string{"iam:PassRole"},
		resources: []string{"arn:" + partition(s.region) + ":iam::" + *awscdk.Aws_ACCOUNT_ID() + ":role/*"},
		conditions: equals("iam:PassedToService",
			"cognito-identity.amazonaws.com", "cognito-idp.amazonaws.com"),
		why: "A group is restored with the IAM role it had, which is known only from the backup. The role can be handed to Cognito and to nothing else.",
	}
}

func (s *site) poolARN(id string) string { return s.arn("cognito-idp", "userpool/"+id) }

func prefixed(service string, operations []string) []string {
	actions := make([]string, len(operations))
	for i, operation := range operations {
		actions[i] = service + operation
	}
	return actions
}

func equals(key string, values ...string) map[string]any {
	return map[string]any{"StringEquals": map[string]any{key: one(values)}}
}

func like(key string, values ...string) map[string]any {
	return map[string]any{"StringLike": map[string]any{key: one(values)}}
}

// one is a single value by itself, as IAM policies are usually written.
func one(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}
