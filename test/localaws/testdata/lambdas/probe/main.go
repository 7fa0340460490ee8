// Command probe is the function that the testbed's own tests run: it does what
// its event says.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Event is what to do.
type Event struct {
	Do      string
	Seconds float64
	Text    string
	Size    int
}

// Answer is what happened.
type Answer struct {
	Text      string `json:",omitempty"`
	PID       int
	RequestID string
	Left      float64 // seconds until the deadline
	Calls     int
}

// SpecialError has a name that a state machine can match.
type SpecialError struct{ text string }

func (e *SpecialError) Error() string { return e.text }

var (
	calls int
	ticks int
	kept  []byte
)

func main() {
	go func() { // shows whether the process is frozen between invocations
		for {
			time.Sleep(10 * time.Millisecond)
			ticks++
		}
	}()
	lambda.Start(handle)
}

func handle(ctx context.Context, e Event) (*Answer, error) {
	calls++
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	a := &Answer{PID: os.Getpid(), RequestID: lc.AwsRequestID, Left: time.Until(deadline).Seconds(), Calls: calls}
	fmt.Println("probe", e.Do)
	switch e.Do {
	case "echo":
		a.Text = e.Text
	case "environment":
		a.Text = strings.Join(os.Environ(), "\n")
	case "sleep":
		time.Sleep(time.Duration(e.Seconds * float64(time.Second)))
	case "ticks":
		a.Text = fmt.Sprint(ticks)
	case "fail":
		return nil, &SpecialError{e.Text}
	case "panic":
		panic(e.Text)
	case "exit":
		os.Exit(3)
	case "large":
		a.Text = strings.Repeat("x", e.Size)
	case "memory":
		kept = make([]byte, e.Size)
		for i := range kept {
			kept[i] = 1
		}
		time.Sleep(2 * time.Second)
	case "put":
		return a, put(ctx, e.Text)
	default:
		return nil, errors.New("do what?")
	}
	return a, nil
}

func put(ctx context.Context, id string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	for i := range 3 {
		_, err = dynamodb.NewFromConfig(cfg).PutItem(ctx, &dynamodb.PutItemInput{
			TableName: aws.String(os.Getenv("TABLE_NAME")),
			Item: map[string]types.AttributeValue{
				"id":   &types.AttributeValueMemberS{Value: fmt.Sprintf("%s-%d", id, i)},
				"type": &types.AttributeValueMemberS{Value: "PROBE"},
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
