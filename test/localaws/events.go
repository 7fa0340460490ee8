package localaws

import (
	"context"
	"fmt"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/wire"
)

func (b *Bed) createRule(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "Name")
	arn := fmt.Sprintf("arn:aws:events:%s:%s:rule/%s", r.Stack.Region, wire.Account, name)
	return cloudformation.Created{Ref: name, Attributes: map[string]string{"Arn": arn}}, nil
}

func (b *Bed) createSchedule(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "Name")
	return cloudformation.Created{Ref: name, Attributes: map[string]string{"Arn": fmt.Sprintf("arn:aws:scheduler:%s:%s:schedule/default/%s", r.Stack.Region, wire.Account, name)}}, nil
}
