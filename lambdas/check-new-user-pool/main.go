// Command check-new-user-pool is the step that checks everything an import
// needs before anything is written.
package main

import (
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		clients := restore.NewClients(env, c)
		return clients.Timed(&restore.CheckNewUserPool{
			API:          clients.Cognito,
			Store:        clients.Store,
			SourcePoolID: env.String("PRIMARY_USER_POOL_ID"),
			Region:       c.Region,
			TPS:          clients.TPS,
			SliceSeconds: env.Int("SLICE_SECONDS"),
			Now:          time.Now,
		})
	})
}
