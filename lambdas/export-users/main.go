// Command export-users is the step that backs up the pool's users.
package main

import (
	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		source := export.NewSource(env, c)
		return &export.Users{Source: source, API: idp.NewFromConfig(c.Config, source.Limits.Apply), Shards: env.Int("EXPORT_SHARDS")}
	})
}
