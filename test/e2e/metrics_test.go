package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"cognito-backup/test/localaws/cloudformation"
)

// ownNamespace is that of the metrics that functions emit. Those of AWS's own
// services follow from the resources that a metric's dimensions name.
const ownNamespace = "CognitoBackup"

// unwatched are metrics that functions emit and no dashboard shows, and why.
var unwatched = map[string]string{
	"Imports":      "counts the imports that came to an end; the dashboard shows executions",
	"RemovalsLeft": "is no fault: the next export removes what this one left",
	"Skipped":      "a scheduled export that gave way is a success among the executions",
}

// metric is a metric's name with its namespace and dimensions, as text.
func metric(namespace, name string, dimensions map[string]string) string {
	parts := []string{namespace, name}
	for _, key := range slices.Sorted(maps.Keys(dimensions)) {
		parts = append(parts, key+"="+dimensions[key])
	}
	return strings.Join(parts, " ")
}

// watched checks what a Region's dashboard and alarms read against what there
// is: each metric of ours was emitted by a function, under the same dimensions,
// and each metric of AWS is about a resource of the stack. What workflows emit
// is shown.
func (b *bed) watched(region string, workflows ...string) {
	b.t.Helper()
	emitted := b.emitted()
	read, own := map[string]bool{}, 0
	for _, m := range b.readMetrics(region) {
		read[m] = true
		if strings.HasPrefix(m, ownNamespace+" ") {
			own++
			if !emitted[m] {
				b.t.Errorf("the dashboard or an alarm in %s reads a metric that no function emits: %s", region, m)
			}
		}
	}
	for m := range emitted {
		_, workflow, _ := strings.Cut(m, "Workflow=")
		name := strings.Fields(m)[1]
		if slices.Contains(workflows, workflow) && !read[m] && unwatched[name] == "" {
			b.t.Errorf("a metric that neither the dashboard nor an alarm in %s reads: %s", region, m)
		}
	}
	if own < 5 || len(read) < 20 {
		b.t.Errorf("only %d metrics are read in %s, %d of them ours", len(read), region, own)
	}
}

// emitted is what the functions emitted in embedded metric format.
func (b *bed) emitted() map[string]bool {
	b.t.Helper()
	found := map[string]bool{}
	for function, lines := range b.AllLogs() {
		for _, line := range lines {
			var embedded struct {
				AWS struct {
					Timestamp         int64
					CloudWatchMetrics []struct {
						Namespace  string
						Dimensions [][]string
						Metrics    []struct{ Name, Unit string }
					}
				} `json:"_aws"`
			}
			var values map[string]any
			if json.Unmarshal([]byte(line), &embedded) != nil || json.Unmarshal([]byte(line), &values) != nil {
				continue
			}
			for _, directive := range embedded.AWS.CloudWatchMetrics {
				for _, set := range directive.Dimensions {
					dimensions := map[string]string{}
					for _, key := range set {
						dimensions[key], _ = values[key].(string)
					}
					for _, m := range directive.Metrics {
						if _, ok := values[m.Name].(float64); !ok || embedded.AWS.Timestamp == 0 {
							b.t.Errorf("%s emits %s without value or time: %s", function, m.Name, line)
						}
						found[metric(directive.Namespace, m.Name, dimensions)] = true
					}
				}
			}
		}
	}
	return found
}

// readMetrics is what the dashboard and the alarms of a Region's stack read.
func (b *bed) readMetrics(region string) []string {
	b.t.Helper()
	var found []string
	for _, stack := range b.Stacks() {
		if stack.Stack.Name != b.stack(region) {
			continue
		}
		for id, declaration := range stack.Stack.Template.Resources {
			resolved, err := stack.Resolve(declaration.Properties)
			if err != nil {
				b.t.Fatal(err)
			}
			properties := cloudformation.Properties(resolved.(map[string]any))
			switch declaration.Type {
			case "AWS::CloudWatch::Alarm":
				metrics := alarmMetrics(properties)
				if len(metrics) == 0 {
					b.t.Errorf("alarm %s reads no metric", id)
				}
				found = append(found, metrics...)
			case "AWS::CloudWatch::Dashboard":
				found = append(found, dashboardMetrics(b.t, properties.String("DashboardBody"))...)
			}
		}
		names := resourceNames(stack)
		for _, m := range found {
			if strings.HasPrefix(m, "AWS/") && !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(m+" ", "="+name+" ") }) {
				b.t.Errorf("the dashboard or an alarm in %s reads a metric of no resource: %s", region, m)
			}
		}
	}
	return found
}

// resourceNames is by what metrics name the stack's resources.
func resourceNames(stack *cloudformation.Deployment) []string {
	var names []string
	for id, declaration := range stack.Stack.Template.Resources {
		created, _ := stack.Created(id)
		switch declaration.Type {
		case "AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "AWS::DynamoDB::GlobalTable":
			names = append(names, created.Ref)
		case "AWS::SQS::Queue":
			names = append(names, created.Attributes["QueueName"])
		}
	}
	return names
}

func alarmMetrics(alarm cloudformation.Properties) []string {
	one := func(p cloudformation.Properties) string {
		dimensions := map[string]string{}
		for _, d := range p.Objects("Dimensions") {
			dimensions[d.String("Name")] = d.String("Value")
		}
		return metric(p.String("Namespace"), p.String("MetricName"), dimensions)
	}
	if alarm.Has("MetricName") {
		return []string{one(alarm)}
	}
	var found []string
	for _, query := range alarm.Objects("Metrics") {
		if stat := query.Object("MetricStat", "Metric"); stat != nil {
			found = append(found, one(stat))
		}
	}
	return found
}

// dashboardMetrics reads the metrics of all widgets. A metric is a list of
// namespace, name, names and values of dimensions, and rendering options; an
// expression has options alone. "." stands for what stands above.
func dashboardMetrics(t *testing.T, body string) []string {
	t.Helper()
	var dashboard struct {
		Widgets []struct {
			Properties struct{ Metrics [][]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &dashboard); err != nil {
		t.Fatalf("the dashboard: %v\n%s", err, body)
	}
	var found []string
	for _, widget := range dashboard.Widgets {
		var above []string
		for _, list := range widget.Properties.Metrics {
			var parts []string
			for i, part := range list {
				text, ok := part.(string)
				if !ok { // the options
					break
				}
				if text == "." && i < len(above) {
					text = above[i]
				}
				parts = append(parts, text)
			}
			if len(parts) == 0 {
				continue
			}
			above = parts
			if len(parts)%2 != 0 {
				t.Fatalf("a metric of the dashboard: %v", fmt.Sprint(list...))
			}
			dimensions := map[string]string{}
			for i := 2; i < len(parts); i += 2 {
				dimensions[parts[i]] = parts[i+1]
			}
			found = append(found, metric(parts[0], parts[1], dimensions))
		}
	}
	return found
}

// logged checks that functions log JSON lines that name the execution and the
// step they are about, so that all of one run can be found.
func (b *bed) logged() {
	b.t.Helper()
	n := 0
	for function, lines := range b.AllLogs() {
		for _, line := range lines {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				b.t.Errorf("%s logs no JSON: %s", function, line)
				continue
			}
			if entry["_aws"] != nil {
				continue // metrics have dimensions instead
			}
			n++
			for _, key := range []string{"time", "level", "msg", "execution", "step"} {
				if entry[key] == nil || entry[key] == "" {
					b.t.Errorf("%s logs a line without %s: %s", function, key, line)
				}
			}
		}
	}
	if n < 10 {
		b.t.Errorf("only %d lines were logged", n)
	}
}
