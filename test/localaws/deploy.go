package localaws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/lambda"
)

// Deploy creates the resources of all stacks, in the order of their
// dependencies, and the schedules after everything else: a rate expression
// invokes its target at once.
func (b *Bed) Deploy(ctx context.Context) error {
	return b.deploy(ctx, b.assembly.Stacks)
}

// DeployStack creates the resources of one stack alone, for example "Secondary",
// whatever it depends on.
func (b *Bed) DeployStack(ctx context.Context, name string) error {
	stack, err := b.assembly.Stack(name)
	if err != nil {
		return err
	}
	return b.deploy(ctx, []*cloudformation.Stack{stack})
}

func (b *Bed) deploy(ctx context.Context, stacks []*cloudformation.Stack) error {
	if err := b.prepare(ctx, stacks); err != nil {
		return err
	}
	providers := b.providers()
	var deployments []*cloudformation.Deployment
	for _, stack := range stacks {
		if b.exports[stack.Region] == nil {
			b.exports[stack.Region] = map[string]string{}
		}
		d, err := cloudformation.Deploy(ctx, stack, providers, b.exports[stack.Region], "AWS::Scheduler::Schedule")
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.deployments[stack.Name] = d
		b.mu.Unlock()
		deployments = append(deployments, d)
	}
	for _, d := range deployments {
		if err := d.Finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare does what takes long, side by side: it builds the functions and
// starts DynamoDB where tables will be.
func (b *Bed) prepare(ctx context.Context, stacks []*cloudformation.Stack) error {
	var targets []lambda.Target
	var tables []string // Regions
	for _, stack := range stacks {
		for _, d := range stack.Template.Resources {
			switch d.Type {
			case "AWS::Lambda::Function":
				targets = append(targets, target(stack, d))
			case "AWS::DynamoDB::Table":
				tables = append(tables, stack.Region)
			case "AWS::DynamoDB::GlobalTable":
				for _, replica := range cloudformation.Properties(d.Properties).Objects("Replicas") {
					tables = append(tables, replica.String("Region"))
				}
			}
		}
	}
	slices.SortFunc(targets, func(x, y lambda.Target) int { return strings.Compare(x.Handler, y.Handler) })
	slices.Sort(tables)

	var work sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	do := func(f func() error) {
		work.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	do(func() error {
		builder := lambda.Builder{Source: b.options.Source, Cache: b.options.Cache, Dir: b.dir}
		binaries, err := builder.Build(ctx, targets)
		b.mu.Lock()
		defer b.mu.Unlock()
		for handler, binary := range binaries {
			b.binaries[handler] = binary
		}
		return err
	})
	for _, name := range slices.Compact(tables) {
		if name != "" {
			do(func() error { return b.regional(name).dynamodb.Start(ctx) })
		}
	}
	work.Wait()
	return errors.Join(errs...)
}

// deployment finds a deployed stack by name or the last part of it.
func (b *Bed) deployment(stack string) (*cloudformation.Deployment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deployments {
		if d.Stack.Matches(stack) {
			return d, nil
		}
	}
	return nil, fmt.Errorf("stack %s is not deployed", stack)
}

// Output is an output of a deployed stack, "" when there is none.
func (b *Bed) Output(stack, key string) string {
	d, err := b.deployment(stack)
	if err != nil {
		return ""
	}
	return d.Outputs[key]
}

// StateMachineARN is the ARN of a state machine of a deployed stack by its name
// or the last part of it ("ExportWorkflow"), "" when there is none.
func (b *Bed) StateMachineARN(stack, name string) string {
	d, err := b.deployment(stack)
	if err != nil {
		return ""
	}
	for id, declaration := range d.Stack.Template.Resources {
		if declaration.Type != "AWS::StepFunctions::StateMachine" {
			continue
		}
		if c, ok := d.Created(id); ok && (nameOf(c.Ref) == name || strings.HasSuffix(nameOf(c.Ref), "-"+name)) {
			return c.Ref
		}
	}
	return ""
}

// Stacks lists the deployed stacks in the order of the assembly.
func (b *Bed) Stacks() []*cloudformation.Deployment {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*cloudformation.Deployment
	for _, stack := range b.assembly.Stacks {
		if d := b.deployments[stack.Name]; d != nil {
			list = append(list, d)
		}
	}
	return list
}
