// Command scan-table is the step that freezes the restore point, proves it
// complete and queues what is to be restored.
package main

import (
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		clients := restore.NewClients(env, c)
		return clients.Timed(&restore.ScanTable{
			Store:  clients.Store,
			Lister: clients.Cognito,
			Queue:  clients.Queue("NEW_USERS_QUEUE_URL"),
		})
	})
}
