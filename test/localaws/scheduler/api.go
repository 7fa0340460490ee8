package scheduler

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"cognito-backup/test/localaws/wire"
)

// parameters are the inputs of all operations.
type parameters struct {
	Schedule
	ClientToken string
	NamePrefix  string
	MaxResults  int
	NextToken   string
}

// Permissions lists what a call needs: the schedule, and for who gives it a role
// the right to pass that.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var p parameters
	_ = c.Decode(&p) // Handle reports what is wrong with it
	action := "scheduler:" + c.Operation
	if c.Operation == "ListSchedules" {
		return []wire.Permission{{Action: action, Resource: "*"}}
	}
	permissions := []wire.Permission{{Action: action, Resource: scheduleARN(s.region, p.GroupName, p.Name)}}
	if c.Operation == "CreateSchedule" || c.Operation == "UpdateSchedule" {
		permissions = append(permissions, wire.Permission{
			Action: "iam:PassRole", Resource: p.Target.RoleArn, Context: map[string]string{"iam:PassedToService": "scheduler.amazonaws.com"},
		})
	}
	return permissions
}

// Handle carries out one call.
func (s *Service) Handle(_ context.Context, c *wire.Call) (any, error) {
	var p parameters
	if err := c.Decode(&p); err != nil {
		return nil, err
	}
	switch c.Operation {
	case "CreateSchedule":
		return arnOf(s.create(p.Schedule, p.ClientToken))
	case "UpdateSchedule":
		return arnOf(s.Update(p.Schedule))
	case "DeleteSchedule":
		return map[string]any{}, s.Delete(p.GroupName, p.Name)
	case "GetSchedule":
		return s.get(p)
	case "ListSchedules":
		return s.list(p)
	}
	return nil, wire.Errorf("UnknownOperationException", "the testbed has no operation scheduler:%s", c.Operation)
}

func arnOf(arn string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"ScheduleArn": arn}, nil
}

func (s *Service) get(p parameters) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.schedules[groupOr(p.GroupName)+"/"+p.Name]
	if e == nil {
		return nil, notFound(p.Name)
	}
	out := struct {
		Schedule
		Arn                  string
		CreationDate         wire.Time
		LastModificationDate wire.Time
	}{e.Schedule, e.arn, wire.Time(e.created), wire.Time(e.modified)}
	return out, nil
}

// defaultPage is the number of schedules a listing shows at most.
const defaultPage = 100

func (s *Service) list(p parameters) (any, error) {
	after, err := base64.RawURLEncoding.DecodeString(p.NextToken)
	if err != nil {
		return nil, wire.Errorf("ValidationException", "Invalid NextToken.")
	}
	size := p.MaxResults
	if size <= 0 || size > defaultPage {
		size = defaultPage
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{}
	summaries := []any{}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(s.schedules)) {
		e := s.schedules[key]
		if key <= string(after) || p.GroupName != "" && p.GroupName != e.GroupName || p.State != "" && p.State != e.State || !strings.HasPrefix(e.Name, p.NamePrefix) {
			continue
		}
		if len(summaries) == size {
			out["NextToken"] = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		last = key
		summaries = append(summaries, map[string]any{
			"Arn": e.arn, "Name": e.Name, "GroupName": e.GroupName, "State": e.State, "Target": map[string]any{"Arn": e.Target.Arn},
			"CreationDate": wire.Time(e.created), "LastModificationDate": wire.Time(e.modified),
		})
	}
	out["Schedules"] = summaries
	return out, nil
}
