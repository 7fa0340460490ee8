package restore

import (
	"os"
	"time"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// Clients are what the steps of an import are built from.
type Clients struct {
	Cognito *idp.Client // stays within Limits
	Limits  *pool.Limits
	Store   *backup.Store
	Metrics *step.Metrics
	TPS     int

	env *step.Environment
	sqs *sqs.Client
}

// NewClients reads the environment that all steps of an import share.
func NewClients(env *step.Environment, c *step.Clients) *Clients {
	tps := env.Int("COGNITO_TPS")
	limits := pool.NewLimits(tps)
	return &Clients{
		Cognito: idp.NewFromConfig(c.Config, limits.Apply), Limits: limits, TPS: tps,
		Store:   &backup.Store{Table: &backup.DynamoDB{API: c.DynamoDB, Name: env.String("TABLE_NAME"), Sleep: step.Sleep}},
		Metrics: &step.Metrics{StackPrefix: env.String("STACK_PREFIX"), Out: os.Stdout, Now: time.Now},
		env:     env, sqs: sqs.NewFromConfig(c.Config),
	}
}

// Queue is the queue whose URL the environment variable holds.
func (c *Clients) Queue(variable string) *Queue {
	return &Queue{API: c.sqs, URL: c.env.String(variable)}
}

// InFlight is how many calls are under way at once: enough that at a latency
// of two seconds the rate is still what CognitoTPS says.
func (c *Clients) InFlight() int { return min(max(2*c.TPS, 2), 128) }

// Timed wraps a step for the report.
func (c *Clients) Timed(s step.Step) step.Step {
	return &Timed{Step: s, Limits: c.Limits, Metrics: c.Metrics, Now: time.Now}
}
