package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
)

// RestorePoints is what telling of an export needs of the backup: the restore
// points of a pool, newest first.
type RestorePoints interface {
	RestorePoints(ctx context.Context, poolID string) ([]backup.RestorePoint, error)
}

// Objects reads what an import left for the message.
type Objects interface {
	Get(ctx context.Context, key string, v any) error
}

// Step is the last state of both workflows, and the target of the rule for
// executions that failed, timed out or were aborted.
type Step struct {
	Topic      *Topic
	Executions Executions
	Points     RestorePoints
	Objects    Objects
	Prefix     string // stackPrefix
	Region     string
	UserPoolID string // of the backup
	Bucket     string
	Now        func() time.Time
}

// ExecutionOf is the execution that a payload of Handle is about.
func ExecutionOf(payload json.RawMessage) string {
	if change, ok := isStatusChange(payload); ok {
		return change.Detail.ExecutionARN
	}
	var event step.Event
	if json.Unmarshal(payload, &event) != nil {
		return ""
	}
	return event.Execution
}

// Handle tells people of one run. The payload is a state's event or an event
// of EventBridge; the answer to a state is its run document, unchanged.
func (s *Step) Handle(ctx context.Context, payload json.RawMessage) (step.Run, error) {
	run, err := s.handle(ctx, payload)
	if err != nil {
		slog.ErrorContext(ctx, "message not sent", step.LogError, err.Error())
		return step.Run{}, step.Classify(err)
	}
	return run, nil
}

func (s *Step) handle(ctx context.Context, payload json.RawMessage) (step.Run, error) {
	if change, ok := isStatusChange(payload); ok {
		failure := change.failure(ctx, s.Executions, s.Prefix)
		return step.Run{}, s.send(ctx, failure.Message())
	}
	var event step.Event
	if err := json.Unmarshal(payload, &event); err != nil {
		return step.Run{}, fmt.Errorf("decode the event: %w", err)
	}
	if event.Execution == "" {
		return step.Run{}, errors.New("the event names no execution: this function is called by its state machines and by the rule for their failures")
	}
	if event.Run.Skipped {
		return event.Run, nil
	}
	message, err := s.completed(ctx, &event)
	if err != nil {
		return step.Run{}, err
	}
	return event.Run, s.send(ctx, message)
}

func (s *Step) send(ctx context.Context, m Message) error {
	sent, err := s.Topic.Send(ctx, m)
	if err != nil {
		return err
	}
	slog.InfoContext(ctx, "message", "sent", sent)
	return nil
}

func (s *Step) completed(ctx context.Context, event *step.Event) (Message, error) {
	if event.Workflow == "ImportWorkflow" {
		return s.imported(ctx, event)
	}
	return s.exported(ctx, event)
}

func (s *Step) exported(ctx context.Context, event *step.Event) (Message, error) {
	all, err := s.Points.RestorePoints(ctx, s.UserPoolID)
	if err != nil {
		return Message{}, err
	}
	named := func(id string) *backup.RestorePoint {
		i := slices.IndexFunc(all, func(p backup.RestorePoint) bool { return p.ID() == id })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	point := named(event.Run.RunID)
	if point == nil {
		return Message{}, fmt.Errorf("the run %s has not left a restore point", event.Run.RunID)
	}
	e := Export{
		Deployment:         Deployment{Prefix: s.Prefix, Region: s.Region, UserPoolID: s.UserPoolID, Execution: event.Execution},
		RestorePoint:       point.EndedAt,
		Took:               s.Now().Sub(event.StartTime),
		Users:              point.Users,
		Groups:             point.Groups,
		Memberships:        point.Memberships,
		Added:              point.Added,
		Changed:            point.Changed,
		Removed:            point.Removed,
		GroupsRemoved:      point.RemovedBy[backup.KindGroup],
		MembershipsRemoved: point.RemovedBy[backup.KindMembership],
		First:              point.Previous == "",
		Throttled:          point.Throttled,
		Accepted:           point.Accepted,
		Secrets:            event.Run.Counts[step.CountSecrets],
		NotRead:            event.Run.Counts[step.CountNotRead],
	}
	if point.Suspect {
		e.Suspect = &Suspect{Missing: point.Gone}
		if reference := named(point.Reference); reference != nil {
			e.Suspect.Of, e.Suspect.ComparedTo = reference.Users, reference.EndedAt
		}
	}
	return e.Message(), nil
}

// summary is what verify-import leaves about an import.
type summary struct {
	RestorePoint               time.Time // end of its listing
	Older                      string
	Incomplete                 bool
	Users, Groups, Memberships Outcomes
	ForgotPassword             int64
	Invitation                 int64
	Throttled                  int64
	Attention                  []string
}

func (s *Step) imported(ctx context.Context, event *step.Event) (Message, error) {
	var input struct{ NewUserPoolId string }
	if err := json.Unmarshal(event.Input, &input); err != nil {
		return Message{}, fmt.Errorf("decode the input: %w", err)
	}
	var sum summary
	if err := s.Objects.Get(ctx, "runs/"+event.ExecutionName()+"/summary.json", &sum); err != nil {
		return Message{}, fmt.Errorf("read the summary of the import: %w", err)
	}
	i := Import{
		Deployment:     Deployment{Prefix: s.Prefix, Region: s.Region, UserPoolID: input.NewUserPoolId, Execution: event.Execution},
		RestorePoint:   sum.RestorePoint,
		Older:          sum.Older,
		SourcePoolID:   s.UserPoolID,
		DryRun:         event.Run.DryRun,
		Incomplete:     sum.Incomplete,
		Took:           s.Now().Sub(event.StartTime),
		Users:          sum.Users,
		Groups:         sum.Groups,
		Memberships:    sum.Memberships,
		Throttled:      sum.Throttled,
		ForgotPassword: sum.ForgotPassword,
		Invitation:     sum.Invitation,
		Attention:      sum.Attention,
		Bucket:         s.Bucket,
		ReportPrefix:   "reports/" + event.ExecutionName() + "/",
	}
	return i.Message(), nil
}
