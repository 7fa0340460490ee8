// Package cloudformation deploys the stacks of a cloud assembly as `cdk synth`
// leaves it: it reads manifest, templates and asset lists, resolves intrinsic
// functions, orders resources by dependency and hands each one, resolved, to
// the Provider of its type.
//
// What it does not do: updates, rollbacks, change sets, nested stacks and
// custom resources. A resource type or function that it does not know is an
// error that names it; nothing is skipped in silence.
package cloudformation
