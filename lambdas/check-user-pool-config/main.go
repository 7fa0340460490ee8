// Command check-user-pool-config is the step that backs up the pool's configuration.
package main

import (
	"time"

	"cognito-backup/internal/export"
	"cognito-backup/internal/step"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

func main() {
	step.Main(func(env *step.Environment, c *step.Clients) step.Step {
		source := export.NewSource(env, c)
		return &export.Configuration{
			Source: source,
			API:    idp.NewFromConfig(c.Config, source.Limits.Apply),
			TPS:    env.Int("COGNITO_TPS"),
			Slice:  time.Duration(env.Int("SLICE_SECONDS")) * time.Second,
		}
	})
}
