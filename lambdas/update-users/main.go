// Command update-users is the step that restores groups, memberships, disabled
// flags and links.
package main

import (
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		clients := restore.NewClients(env, c)
		return clients.Timed(&restore.UpdateUsers{
			API:         clients.Cognito,
			Updates:     clients.Queue("UPDATES_QUEUE_URL"),
			DeadLetters: clients.Queue("UPDATES_DEAD_LETTER_QUEUE_URL"),
			InFlight:    clients.InFlight(),
			Metrics:     clients.Metrics,
		})
	})
}
