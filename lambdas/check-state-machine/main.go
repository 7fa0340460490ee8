// Command check-state-machine is the first step of both workflows: it takes the
// lease of the workflow.
package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

func main() {
	step.Serve(func(env *step.Environment, c *step.Clients) any {
		store := &backup.Store{Table: &backup.DynamoDB{API: c.DynamoDB, Name: env.String("TABLE_NAME"), Sleep: step.Sleep}}
		lease := step.NewLease(env, c)
		lease.BackedUp = func(ctx context.Context, userPoolID string) (bool, error) {
			points, err := store.RestorePoints(ctx, userPoolID)
			return len(points) > 0, err
		}
		check := &step.CheckStateMachine{
			Lease:      lease,
			Executions: sfn.NewFromConfig(c.Config),
			Metrics:    &step.Metrics{StackPrefix: env.String("STACK_PREFIX"), Out: os.Stdout, Now: time.Now},
			// An import that finds no restore point of its pool says so by itself.
			UserPoolIDs: map[string]string{"ExportWorkflow": env.String("PRIMARY_USER_POOL_ID")},
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
