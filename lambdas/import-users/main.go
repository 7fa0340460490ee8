// Command import-users is the step that creates users, by CSV import jobs and
// by API.
package main

import (
	"crypto/rand"
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		clients := restore.NewClients(env, c)
		return clients.Timed(&restore.ImportUsers{
			API:      clients.Cognito,
			Jobs:     clients.Cognito,
			Upload:   restore.Upload,
			NewUsers: clients.Queue("NEW_USERS_QUEUE_URL"),
			Updates:  clients.Queue("UPDATES_QUEUE_URL"),
			JobRole:  env.String("IMPORT_JOB_ROLE_ARN"),
			InFlight: clients.InFlight(),
			Metrics:  clients.Metrics,
			Random:   rand.Reader,
			Now:      time.Now,
		})
	})
}
