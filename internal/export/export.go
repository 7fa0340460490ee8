// Package export holds the steps of the ExportWorkflow: they read one user
// pool and keep its users, groups and memberships in the backup table.
//
// It promises that the pool is only ever read, that an export becomes a
// restore point by its last write or not at all, and that nothing which a
// restore point within the retention needs is removed.
package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// Input is what an ExportWorkflow may be started with. Both keys are optional.
type Input struct {
	// AcceptMassDeletion makes the restore point trustworthy although more users
	// are gone than massDeletionPercent: a person has looked.
	AcceptMassDeletion bool
	// ScheduledTime is set by the schedule; such an export gives way to one that
	// is still running.
	ScheduledTime string
}

// InputError says what is wrong with the input of an execution.
type InputError struct{ Err error }

func (e *InputError) Error() string {
	return fmt.Sprintf(`the input of the ExportWorkflow is not understood: %v; start it with {} or {"AcceptMassDeletion": true}`, e.Err)
}
func (e *InputError) Unwrap() error { return e.Err }

// inputKeys are the keys of the input in the order in which people are told of them.
var inputKeys = []string{"AcceptMassDeletion", "ScheduledTime"}

// ParseInput reads the input of an execution; none, or null, is an empty one.
// A key that is not known is an error, because a misspelt one would otherwise
// be ignored in silence. As in the ImportWorkflow's input, a key in the wrong
// case is misspelt, too: encoding/json alone would take it, and a mass deletion
// is accepted by nothing but the words that people are told.
func ParseInput(raw json.RawMessage) (Input, error) {
	var in Input
	if len(bytes.TrimSpace(raw)) == 0 {
		return in, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return Input{}, &InputError{errors.New("it is no JSON object")}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(inputKeys, key) {
			return Input{}, &InputError{fmt.Errorf("it has the unknown key %q; known are %s", key, strings.Join(inputKeys, ", "))}
		}
	}
	if value, ok := keys["AcceptMassDeletion"]; ok && json.Unmarshal(value, &in.AcceptMassDeletion) != nil {
		return Input{}, &InputError{errors.New("AcceptMassDeletion is neither true nor false")}
	}
	if value, ok := keys["ScheduledTime"]; ok && json.Unmarshal(value, &in.ScheduledTime) != nil {
		return Input{}, &InputError{errors.New("ScheduledTime is no string")}
	}
	return in, nil
}

// Source is the pool that is backed up, the table it goes to and how fast.
type Source struct {
	UserPoolID string
	Store      *backup.Store
	Limits     *pool.Limits
}

// NewSource is the source that a function's environment names.
func NewSource(env *step.Environment, c *step.Clients) Source {
	return Source{
		UserPoolID: env.String("PRIMARY_USER_POOL_ID"),
		Store:      &backup.Store{Table: &backup.DynamoDB{API: c.DynamoDB, Name: env.String("TABLE_NAME"), Sleep: step.Sleep}},
		Limits:     pool.NewLimits(env.Int("COGNITO_TPS")),
	}
}

// Names of counts in the run's document.
const (
	CountListed    = "Listed"         // users, groups and memberships read from the pool
	CountWritten   = "Written"        // records written because they differ
	CountThrottled = "ThrottledCalls" // calls that Cognito turned away
)

// Configuration is the step check-user-pool-config: it writes the POOL record.
type Configuration struct {
	Source
	API   pool.ConfigurationAPI
	TPS   int
	Slice time.Duration
}

// Run reads the pool's configuration and stores it without secrets.
func (c *Configuration) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	before := c.Limits.Throttled()
	configuration, err := pool.ReadConfiguration(ctx, c.API, c.UserPoolID)
	if err != nil {
		return step.Run{}, err
	}
	if err := c.plan(ctx, s, configuration); err != nil {
		return step.Run{}, err
	}
	if len(configuration.NotRead) > 0 {
		if err := c.keep(ctx, configuration); err != nil {
			return step.Run{}, err
		}
	}
	record, err := backup.NewRecord(backup.PoolKey(c.UserPoolID), configuration)
	if err != nil {
		return step.Run{}, err
	}
	if _, err := c.Store.Sync(ctx, s.Event.Run.RunID, []backup.Record{record}); err != nil {
		return step.Run{}, fmt.Errorf("store the configuration of user pool %s: %w", c.UserPoolID, err)
	}
	run := s.Next()
	run.Count(CountThrottled, c.Limits.Throttled()-before)
	run.Count(step.CountSecrets, configuration.Secrets)
	run.Count(step.CountNotRead, int64(len(configuration.NotRead)))
	slog.InfoContext(ctx, "configuration stored",
		"clients", len(configuration.Clients), "identityProviders", len(configuration.IdentityProviders))
	return run, nil
}

// keep fills in what could not be read as the export before read it.
func (c *Configuration) keep(ctx context.Context, configuration *pool.Configuration) error {
	key := backup.PoolKey(c.UserPoolID)
	stored, err := c.Store.Table.Get(ctx, []backup.Key{key}, false)
	if err != nil {
		return fmt.Errorf("read the stored configuration of user pool %s: %w", c.UserPoolID, err)
	}
	item, there := stored[key]
	if !there {
		return nil
	}
	var before pool.Configuration
	if err := item.Decode(&before); err != nil {
		return err
	}
	configuration.Keep(&before)
	return nil
}

// plan refuses an export that fits no execution. Cognito estimates how many
// users there are; how many memberships, the last restore point tells.
func (c *Configuration) plan(ctx context.Context, s *step.Slice, configuration *pool.Configuration) error {
	points, err := c.Store.RestorePoints(ctx, c.UserPoolID)
	if err != nil {
		return err
	}
	users := int64(configuration.EstimatedUsers)
	groups, memberships := int64(0), users
	if len(points) > 0 {
		groups, memberships = points[0].Groups, points[0].Memberships
	}
	p := NewPlan(users, groups, memberships, c.TPS, c.Slice)
	slog.InfoContext(ctx, "planned", "calls", p.Calls, "seconds", p.Duration.Seconds(), "slices", p.Slices, "events", p.Events)
	return p.Check()
}
