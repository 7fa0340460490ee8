// Command verify-import is the step that proves the restore, queues again what
// is missing, and writes the reports.
package main

import (
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		clients := restore.NewClients(env, c)
		return &restore.VerifyImport{
			Lister:   clients.Cognito,
			Store:    clients.Store,
			NewUsers: clients.Queue("NEW_USERS_QUEUE_URL"),
			TPS:      clients.TPS,
			Metrics:  clients.Metrics,
			Now:      time.Now,
		}
	})
}
