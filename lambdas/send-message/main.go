// Command send-message tells people how a workflow ended, and gives its lease
// back.
package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/notify"
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Serve(func(env *step.Environment, c *step.Clients) any {
		s := &notify.Step{
			Topic: &notify.Topic{
				API:        sns.NewFromConfig(c.Config),
				ARN:        env.String("TOPIC_ARN"),
				Preference: notify.Preference(env.String("SNS_PREFERENCE")),
			},
			Executions: sfn.NewFromConfig(c.Config),
			Points:     &backup.Store{Table: &backup.DynamoDB{API: c.DynamoDB, Name: env.String("TABLE_NAME"), Sleep: step.Sleep}},
			Objects:    c.Objects,
			Prefix:     env.String("STACK_PREFIX"),
			Region:     c.Region,
			UserPoolID: env.String("PRIMARY_USER_POOL_ID"),
			Bucket:     c.Objects.Bucket,
			Now:        time.Now,
		}
		aftermath := &restore.Aftermath{Objects: c.Objects, Now: time.Now}
		release := &notify.Release{Lease: step.NewLease(env, c)}
		return func(ctx context.Context, payload json.RawMessage) (step.Run, error) {
			ctx = step.LogRun(ctx, notify.ExecutionOf(payload), "SendMessage")
			run, err := s.Handle(ctx, payload)
			aftermath.Handle(ctx, payload) // after the message, which matters more
			release.Handle(ctx, payload, err == nil)
			return run, err
		}
	})
}
