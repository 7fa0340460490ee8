// Package stacks says what is deployed: a primary stack in the Region of the
// user pool, which exports on a schedule, and a secondary stack in another
// Region, which restores. With customer-managed keys a third stack, deployed
// first, holds the secondary Region's key.
//
//	parameters.go, schedule.go   context in, problems out
//	names.go                     every name that is built from the prefix
//	primary.go, secondary.go     what each Region gets, in order
//	table.go, storage.go, keys.go
//	steps.go, grants.go, functions.go   what each step is given and may do; its function
//	workflow.go, export_workflow.go, import_workflow.go
//	notifications.go, monitoring.go, outputs.go
//
// The package knows a function by the name of its folder and by its
// environment, and imports nothing of what runs in it. Every name is built
// from the prefix, so that one Region's stack can name what lives in the other
// without a reference to it: the secondary stack deploys, updates and works
// while the primary Region is unreachable. One thing is beyond it: in the
// partition aws, roles and policies are changed through IAM in us-east-1, so
// if that is the primary Region, an update in its outage may not change them.
package stacks
