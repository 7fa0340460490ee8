// Command check-state-machine is the first step of both workflows: it takes the
// lease of the workflow.
package main

import (
	"encoding/json"
	"os"
	"time"

	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

func main() {
	step.Serve(func(env *step.Environment, c *step.Clients) any {
		check := &step.CheckStateMachine{
			Lease:      step.NewLease(env, c),
			Executions: sfn.NewFromConfig(c.Config),
			Metrics:    &step.Metrics{StackPrefix: env.String("STACK_PREFIX"), Out: os.Stdout, Now: time.Now},
			UserPoolID: env.String("PRIMARY_USER_POOL_ID"),
			Inputs: map[string]func(json.RawMessage) (bool, error){
				"ExportWorkflow": func(raw json.RawMessage) (bool, error) {
					in, err := export.ParseInput(raw)
					return in.ScheduledTime != "", err
				},
				// Checked by check-new-user-pool together with the pool, so that all
				// findings are told at once.
				"ImportWorkflow": func(json.RawMessage) (bool, error) { return false, nil },
			},
		}
		return check.Handle
	})
}
