package cloudformation

import (
	"context"
	"fmt"
	"slices"

	"cognito-backup/test/localaws/wire"
)

// Resource is a resource to be created, all values resolved.
type Resource struct {
	Stack      *Stack
	LogicalID  string
	Type       string
	Properties Properties
}

// Created is what a template can learn about a resource.
type Created struct {
	Ref        string
	Attributes map[string]string // by the name that Fn::GetAtt uses
}

// Provider creates the resources of one type.
type Provider func(ctx context.Context, r Resource) (Created, error)

// Deployment is a stack being created, or created.
type Deployment struct {
	Stack   *Stack
	Outputs map[string]string // complete once Finish returned

	scope     *scope
	providers map[string]Provider
	held      []string // logical ids, in order of dependency
}

// Deploy creates the resources of the stack, each after those it refers to,
// except the types in hold and whatever depends on these: Finish creates them.
// providers has an entry for every type the testbed knows; exports are the
// values that stacks of the same Region have exported, to which this one adds.
func Deploy(ctx context.Context, stack *Stack, providers map[string]Provider, exports map[string]string, hold ...string) (*Deployment, error) {
	d := &Deployment{
		Stack:     stack,
		Outputs:   map[string]string{},
		providers: providers,
		scope: &scope{
			template: stack.Template,
			created:  map[string]Created{},
			exports:  exports,
			pseudo: map[string]string{
				"AWS::AccountId": wire.Account,
				"AWS::Region":    stack.Region,
				"AWS::Partition": "aws",
				"AWS::URLSuffix": "amazonaws.com",
				"AWS::StackName": stack.Name,
				"AWS::StackId":   fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/00000000-0000-0000-0000-000000000000", stack.Region, wire.Account, stack.Name),
			},
		},
	}
	order, edges, err := d.order()
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", stack.Name, err)
	}
	held := map[string]bool{}
	for _, id := range order {
		if slices.Contains(hold, stack.Template.Resources[id].Type) || slices.ContainsFunc(edges[id], func(e string) bool { return held[e] }) {
			held[id] = true
			d.held = append(d.held, id)
			continue
		}
		if err := d.create(ctx, id); err != nil {
			return nil, err
		}
	}
	if len(d.held) == 0 {
		return d, d.resolveOutputs()
	}
	return d, nil
}

// Finish creates the resources held back and resolves the outputs.
func (d *Deployment) Finish(ctx context.Context) error {
	for _, id := range d.held {
		if err := d.create(ctx, id); err != nil {
			return err
		}
	}
	d.held = nil
	return d.resolveOutputs()
}

func (d *Deployment) resolveOutputs() error {
	for name, output := range d.Stack.Template.Outputs {
		if output.Condition != "" {
			if holds, err := d.scope.named(output.Condition); err != nil {
				return fmt.Errorf("stack %s: output %s: %w", d.Stack.Name, name, err)
			} else if !holds {
				continue
			}
		}
		v, err := d.scope.resolve(output.Value)
		if err != nil {
			return fmt.Errorf("stack %s: output %s: %w", d.Stack.Name, name, err)
		}
		d.Outputs[name] = text(v)
		if output.Export.Name == nil {
			continue
		}
		exported, err := d.scope.resolve(output.Export.Name)
		if err != nil {
			return fmt.Errorf("stack %s: export of output %s: %w", d.Stack.Name, name, err)
		}
		d.scope.exports[text(exported)] = text(v)
	}
	return nil
}

// Created is what was created under the logical id.
func (d *Deployment) Created(logicalID string) (Created, bool) {
	c, ok := d.scope.created[logicalID]
	return c, ok
}

// Resolve is v, a value of the template, with its intrinsic functions resolved.
func (d *Deployment) Resolve(v any) (any, error) { return d.scope.resolve(v) }

// order lists the logical ids whose conditions hold, dependencies first.
func (d *Deployment) order() (order []string, edges map[string][]string, err error) {
	edges = map[string][]string{}
	var ids []string
	for id, declaration := range d.Stack.Template.Resources {
		if declaration.Condition != "" {
			holds, err := d.scope.named(declaration.Condition)
			if err != nil {
				return nil, nil, fmt.Errorf("resource %s: %w", id, err)
			}
			if !holds {
				continue
			}
		}
		if d.providers[declaration.Type] == nil {
			return nil, nil, fmt.Errorf("resource %s: the testbed does not know the type %s", id, declaration.Type)
		}
		found := map[string]bool{}
		references(declaration.Properties, found)
		switch on := declaration.DependsOn.(type) {
		case string:
			found[on] = true
		case []any:
			for _, o := range on {
				found[text(o)] = true
			}
		}
		for reference := range found {
			edges[id] = append(edges[id], reference)
		}
		ids = append(ids, id)
	}
	order, err = topological(ids, edges)
	if err != nil {
		return nil, nil, fmt.Errorf("resources depend on each other in a circle: %w", err)
	}
	return order, edges, nil
}

func (d *Deployment) create(ctx context.Context, id string) error {
	declaration := d.Stack.Template.Resources[id]
	fail := func(err error) error {
		return fmt.Errorf("stack %s: resource %s (%s): %w", d.Stack.Name, id, declaration.Type, err)
	}
	var properties any = declaration.Properties
	resolved, err := d.scope.resolve(properties)
	if err != nil {
		return fail(err)
	}
	m, _ := resolved.(map[string]any)
	created, err := d.providers[declaration.Type](ctx, Resource{Stack: d.Stack, LogicalID: id, Type: declaration.Type, Properties: m})
	if err != nil {
		return fail(err)
	}
	d.scope.created[id] = created
	return nil
}
