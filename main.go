// Command cognito-backup is the CDK app: it reads the deployment parameters
// from context and synthesizes the stacks of the two Regions.
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"cognito-backup/stacks"
)

func main() { os.Exit(synth()) }

// synth returns the exit code rather than exiting, so that the deferred close
// of the jsii runtime runs.
func synth() (code int) {
	defer jsii.Close()
	// The CDK reports errors by panicking, among them a missing folder of a
	// function. The message says it all; a stack trace would bury it.
	defer func() {
		if failure := recover(); failure != nil {
			fmt.Fprintf(os.Stderr, "Synthesis failed: %v\n\nIf a folder under dist/ is missing, run make build first.\n", failure)
			code = 1
		}
	}()

	app := awscdk.NewApp(nil)
	context, _ := app.Node().GetAllContext(nil).(map[string]any)
	params, err := stacks.ParseParameters(context)
	if err != nil {
		fmt.Fprintf(os.Stderr, "The context (cdk.json, or -c key=value) needs a change:\n\n%v\n", err)
		return 1
	}
	// The CDK CLI says which account its credentials are of, if it has some.
	stacks.New(app, stacks.Props{Parameters: params, Assets: "dist", Account: os.Getenv("CDK_DEFAULT_ACCOUNT")})
	app.Synth(nil)
	return 0
}
