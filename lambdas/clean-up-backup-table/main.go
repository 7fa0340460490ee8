// Command clean-up-backup-table is the step that proves and commits a restore
// point and removes what no restore point needs.
package main

import (
	"os"
	"time"

	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		return &export.CleanUp{
			Source:              export.NewSource(env, c),
			Queue:               sqs.NewFromConfig(c.Config),
			QueueURL:            env.String("CLEAN_UP_QUEUE_URL"),
			RetentionDays:       env.Int("RETENTION_DAYS"),
			MassDeletionPercent: env.Int("MASS_DELETION_PERCENT"),
			Metrics:             &step.Metrics{StackPrefix: env.String("STACK_PREFIX"), Out: os.Stdout, Now: time.Now},
			Now:                 time.Now,
		}
	})
}
