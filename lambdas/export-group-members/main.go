// Command export-group-members is the step that backs up who is in which group.
package main

import (
	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		source := export.NewSource(env, c)
		// As many groups side by side as there are calls in a second: even at a
		// latency of a second the rate is what CognitoTPS says.
		return &export.Memberships{Source: source, API: idp.NewFromConfig(c.Config, source.Limits.Apply), Parallel: min(env.Int("COGNITO_TPS"), 64)}
	})
}
