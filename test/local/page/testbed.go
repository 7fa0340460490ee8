// Package page is the page of `make local`: both workflows drawn from their
// definitions, their states turning green as an execution proceeds, what the
// pools and the backup table hold, the e-mails that went out, and two buttons:
// one starts the export, the other deletes the users and starts the import.
//
// The server renders everything; a page that was opened follows by server-sent
// events. There is no framework and no request to anywhere else. Without
// scripts the page shows the state of its loading, and the buttons work.
package page

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// Testbed is what the page looks at and sets going. It is used by several
// goroutines at once.
type Testbed interface {
	// Endpoint is where the AWS CLI finds the testbed.
	Endpoint() string
	// Workflows are drawn in this order. They do not change.
	Workflows() []Workflow
	// Newest is the newest execution of a workflow, in whichever Region; nil
	// when there is none yet. The page calls it often.
	Newest(ctx context.Context, workflow string) (*Execution, error)
	// Holdings tell what is where, in the order of the columns. The page calls
	// it less often the longer it takes.
	Holdings(ctx context.Context) ([]Holding, error)
	// Mails are what SNS sent, oldest first.
	Mails() []Mail
	// Targets are the pools that users can be restored into, the usual one first.
	Targets() []Target
	// Export starts the ExportWorkflow.
	Export(ctx context.Context) error
	// Report is the report of an execution that HasReport, a page of its own.
	Report(ctx context.Context, region, execution string) ([]byte, error)
	// Restore deletes all users of the backed-up pool and starts the
	// ImportWorkflow into a target. It returns how many users there were.
	Restore(ctx context.Context, poolID string) (deleted int, err error)
}

// Workflow is a state machine to be drawn.
type Workflow struct {
	Name       string // without prefix: ExportWorkflow
	Definition string // Amazon States Language
}

// Execution is how an execution stands.
type Execution struct {
	Name, Region string
	Status       types.ExecutionStatus
	Started      time.Time
	Stopped      time.Time // zero while running
	Error        string    // why it failed, in words
	HasReport    bool      // Testbed.Report returns one
	// History is everything that happened so far; calls for the same execution
	// return ever more of it.
	History []types.HistoryEvent
}

// Kind is a kind of record.
type Kind string

// The kinds, in the order of the rows.
const (
	Users         Kind = "Users"
	Groups        Kind = "Groups"
	Memberships   Kind = "Memberships"
	Kept          Kind = "Kept versions"
	RestorePoints Kind = "Restore points"
)

var kinds = []Kind{Users, Groups, Memberships, Kept, RestorePoints}

// Holding is what a pool or a table holds.
type Holding struct {
	Title  string       // "Source pool"
	ID     string       // of the pool or table
	Region string       //
	Gone   bool         // it was deleted
	Counts map[Kind]int // kinds that it cannot hold are absent
}

// Mail is an e-mail in the outbox.
type Mail struct {
	At               time.Time
	From, To         string // Region of the topic, address
	Subject, Message string
}

// Target is a pool that users can be restored into.
type Target struct{ PoolID, Label string }
