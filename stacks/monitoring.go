package stacks

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/jsii-runtime-go"
)

// The metrics that the steps emit, in their own namespace.
const (
	metricNamespace = "CognitoBackup"

	// Once per restore point, by clean-up-backup-table.
	metricRestorePoint = "RestorePoint"
	metricSuspect      = "Suspect"
	metricUsers        = "Users"
	metricGroups       = "Groups"
	metricMemberships  = "Memberships"
	metricAdded        = "Added"
	metricChanged      = "Changed"
	metricRemoved      = "Removed"

	// While an import runs.
	metricUsersRestored       = "UsersRestored"
	metricMembershipsRestored = "MembershipsRestored"

	// Once per import, by verify-import.
	metricRestored  = "Restored"
	metricDeferred  = "Deferred"
	metricConflicts = "Conflicts"
	metricFailed    = "Failed"

	// Of both workflows.
	metricThrottledCalls  = "ThrottledCalls"
	metricDurationSeconds = "DurationSeconds"
)

// maxLookBack is how far back an alarm can look; CloudWatch allows no more.
const maxLookBack = 7 * day

// restorePointWindow is how long an export may stay away before people are
// told: the schedule's longest gap, and as long again, from six hours to a
// day, for the export to take. It is 0, no alarm, if the schedule is too slow
// for an alarm to see two starts or its gap is not known.
func restorePointWindow(s Schedule) time.Duration {
	if s.LongestGap == 0 {
		return 0
	}
	window := s.LongestGap + min(max(s.LongestGap, 6*time.Hour), day)
	if window > maxLookBack {
		return 0
	}
	return window.Round(time.Hour)
}

// alarm is one alarm; a person is told when the metric reaches the threshold.
type alarm struct {
	id         string
	metric     awscloudwatch.IMetric
	threshold  float64
	periods    int // 1 when zero
	below      bool
	missing    awscloudwatch.TreatMissingData // not breaching when empty
	tellWhenOK bool
	// what happened and what to do about it.
	what string
	todo string
}

// createMonitoring makes the alarms and the dashboard of this Region.
func (s *site) createMonitoring() {
	for _, a := range s.regionAlarms() {
		s.createAlarm(a)
	}
	s.createDashboard()
}

func (s *site) createAlarm(a alarm) {
	props := &awscloudwatch.AlarmProps{
		AlarmName:          jsii.String(s.names.of(a.id)),
		AlarmDescription:   jsii.String(a.what + " To do: " + a.todo),
		Metric:             a.metric,
		Threshold:          jsii.Number(a.threshold),
		EvaluationPeriods:  jsii.Number(max(a.periods, 1)),
		ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
		TreatMissingData:   awscloudwatch.TreatMissingData_NOT_BREACHING,
	}
	if a.below {
		props.ComparisonOperator = awscloudwatch.ComparisonOperator_LESS_THAN_THRESHOLD
	}
	if a.missing != "" {
		props.TreatMissingData = a.missing
	}
	alarm := awscloudwatch.NewAlarm(s.stack, jsii.String(a.id+"Alarm"), props)
	tell := awscloudwatchactions.NewSnsAction(s.topic)
	alarm.AddAlarmAction(tell)
	if a.tellWhenOK {
		alarm.AddOkAction(tell)
	}
	s.alarms = append(s.alarms, alarm)
}

func (s *site) regionAlarms() []alarm {
	var alarms []alarm
	if s.isPrimary() {
		alarms = append(alarms, s.exportAlarms()...)
	}
	alarms = append(alarms, alarm{
		id: "ImportFailed", metric: s.failedExecutions(importWorkflow), threshold: 1,
		what: "An execution of " + s.names.of(importWorkflow) + " failed, timed out or was aborted.",
		todo: "read the e-mail about it (cause and next step), or open the execution in the Step Functions console. " +
			"If it failed in CheckNewUserPool, nothing was written: mend the cause and start again with the same input. " +
			"Otherwise start the ImportWorkflow again with the same input and \"Mode\": \"MISSING_ONLY\": what is restored already stays as it is.",
	}, alarm{
		id: "SendMessageFailed", threshold: 1,
		metric: s.functions["send-message"].MetricErrors(&awscloudwatch.MetricOptions{
			Statistic: jsii.String("Sum"), Period: minutes(5)}),
		what: "The function that tells people how a workflow ended has failed, so an e-mail may be missing.",
		todo: "look at the executions of the workflows in the Step Functions console, and at the log group /aws/lambda/" +
			s.names.of("send-message") + " for the reason.",
	})
	for _, queue := range s.liveQueues() {
		alarms = append(alarms, s.deadLetterAlarm(queue))
	}
	return alarms
}

func (s *site) exportAlarms() []alarm {
	alarms := []alarm{{
		id: "ExportFailed", metric: s.failedExecutions(exportWorkflow), threshold: 1,
		what: "An execution of " + s.names.of(exportWorkflow) + " failed, timed out or was aborted. Earlier restore points are unharmed.",
		todo: "read the e-mail about it (cause and next step), or open the execution in the Step Functions console. " +
			"When the cause is gone, start the ExportWorkflow with {} or wait for the schedule (" + s.params.Schedule.Expression + ").",
	}, {
		id: "RestorePointSuspect", threshold: 1,
		metric: s.metric(exportWorkflow, metricSuspect, "Maximum", awscdk.Duration_Hours(jsii.Number(1))),
		// The verdict of the last export stands until the next one.
		missing: awscloudwatch.TreatMissingData_IGNORE, tellWhenOK: true,
		what: fmt.Sprintf("More than %d %% of the users have vanished from pool %s. The backup keeps them, imports skip the suspect restore point, and nothing is removed.",
			s.params.MassDeletionPercent, s.params.PrimaryUserPoolID),
		todo: `find out who deleted them. If it was an accident, start the ImportWorkflow with {"NewUserPoolId": "` + s.params.PrimaryUserPoolID +
			`", "Mode": "MISSING_ONLY"}. If it was intended, start the ExportWorkflow with {"AcceptMassDeletion": true}.`,
	}, {
		// DynamoDB measures a change when it arrives. One late change is news; a
		// replication that stands still has no datapoint, and nor has a table to
		// which nothing is written, so a missing one says nothing.
		id: "ReplicationLatency", threshold: float64((15 * time.Minute).Milliseconds()), tellWhenOK: true,
		metric: s.replicationLatency(),
		what:   "A change of the backup table took more than 15 minutes to reach its replica in " + s.params.SecondaryRegion + ".",
		todo:   "look at the AWS Health Dashboard for DynamoDB in both Regions. An import there takes the newest restore point that has arrived completely, and says so. Nothing needs to be repaired by hand.",
	}}
	if window := restorePointWindow(s.params.Schedule); window > 0 {
		hours := int(window / time.Hour)
		alarms = append(alarms, alarm{
			id: "NoRestorePoint", threshold: 1, below: true, tellWhenOK: true,
			metric:  s.metric(exportWorkflow, metricRestorePoint, "Sum", awscdk.Duration_Hours(jsii.Number(1))),
			periods: hours, missing: awscloudwatch.TreatMissingData_BREACHING,
			what: fmt.Sprintf("No restore point has been made for %d hours, although exports are due by %s. It also rings after the first deployment, until the first export has ended.",
				hours, s.params.Schedule.Expression),
			todo: "see in the Step Functions console whether " + s.names.of(exportWorkflow) + " runs, failed or was never started; " +
				"check that the schedule " + s.names.of("ExportSchedule") + " is enabled; start the ExportWorkflow with {}.",
		})
	}
	return alarms
}

func (s *site) deadLetterAlarm(queue string) alarm {
	dead := deadLetter(queue)
	todo := map[string]string{
		cleanUpQueue: "nothing is lost: what could not be removed from the backup table stays in it and the next export tries again. " +
			"If it rings again, look at the log group /aws/lambda/" + s.names.of("clean-up-backup-table") + ".",
		newUsersQueue: "these chunks of users killed their function again and again. Look at the log group /aws/lambda/" + s.names.of("import-users") +
			", then start the ImportWorkflow again with \"Mode\": \"MISSING_ONLY\".",
		updatesQueue: "each message names records that could not be restored; the report of the import lists them with the reasons. " +
			"Repair the causes and start the ImportWorkflow again with \"Mode\": \"MISSING_ONLY\".",
	}[queue]
	return alarm{
		id: dead, threshold: 1,
		metric: s.queues[dead].MetricApproximateNumberOfMessagesVisible(&awscloudwatch.MetricOptions{
			Statistic: jsii.String("Maximum"), Period: minutes(5)}),
		what: "There are messages in " + s.names.of(dead) + ".",
		todo: todo + " Purge the queue to silence this alarm.",
	}
}

// liveQueues is this Region's queues without the dead-letter queues.
func (s *site) liveQueues() []string {
	if s.isPrimary() {
		return []string{cleanUpQueue, newUsersQueue, updatesQueue}
	}
	return []string{newUsersQueue, updatesQueue}
}

func (s *site) liveWorkflows() []string {
	if s.isPrimary() {
		return []string{exportWorkflow, importWorkflow}
	}
	return []string{importWorkflow}
}

// metric is one of the metrics that the steps emit.
func (s *site) metric(workflow, name, statistic string, period awscdk.Duration) awscloudwatch.Metric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: jsii.String(metricNamespace), MetricName: jsii.String(name),
		DimensionsMap: &map[string]*string{
			"StackPrefix": jsii.String(s.names.prefix), "Workflow": jsii.String(workflow)},
		Statistic: jsii.String(statistic), Period: period,
	})
}

// failedExecutions counts every way in which an execution ends badly.
func (s *site) failedExecutions(workflow string) awscloudwatch.IMetric {
	count := func(name string) awscloudwatch.IMetric {
		return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
			Namespace: jsii.String("AWS/States"), MetricName: jsii.String(name),
			DimensionsMap: &map[string]*string{"StateMachineArn": s.workflows[workflow].StateMachineArn()},
			Statistic:     jsii.String("Sum"), Period: minutes(5),
		})
	}
	// Ids are unique within a graph, which may show both workflows.
	id := strings.ToLower(strings.TrimSuffix(workflow, "Workflow"))
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String(strings.ReplaceAll("FILL(idFailed, 0) + FILL(idTimedOut, 0) + FILL(idAborted, 0)", "id", id)),
		UsingMetrics: &map[string]awscloudwatch.IMetric{
			id + "Failed":   count("ExecutionsFailed"),
			id + "TimedOut": count("ExecutionsTimedOut"),
			id + "Aborted":  count("ExecutionsAborted"),
		},
		Label:  jsii.String(workflow + " failed, timed out or aborted"),
		Period: minutes(5),
	})
}

func minutes(n int) awscdk.Duration { return awscdk.Duration_Minutes(jsii.Number(n)) }

// Widths on the dashboard, of 24.
const (
	half    = 12
	third   = 8
	quarter = 6
)

// createDashboard makes this Region's dashboard. Dashboards belong to the
// account, not to a Region, so their names tell the Regions apart.
func (s *site) createDashboard() {
	role := "Secondary"
	if s.isPrimary() {
		role = "Primary"
	}
	s.dashboard = awscloudwatch.NewDashboard(s.stack, jsii.String("Dashboard"), &awscloudwatch.DashboardProps{
		DashboardName:   jsii.String(s.names.of(role)),
		DefaultInterval: awscdk.Duration_Days(jsii.Number(14)),
	})
	s.addRow(s.introduction(role), awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
		Title: jsii.String("Alarms"), Width: jsii.Number(half), Height: jsii.Number(7), Alarms: &s.alarms,
	}))
	if s.isPrimary() {
		s.addExportRows()
	}
	s.addImportRows()
	s.addOperationsRow()
}

func (s *site) addRow(widgets ...awscloudwatch.IWidget) { s.dashboard.AddWidgets(widgets...) }

func (s *site) introduction(role string) awscloudwatch.IWidget {
	lines := []string{
		"# " + s.names.prefix + ": backup of " + s.params.PrimaryUserPoolID,
		role + " Region " + s.region + ". Restore users with [" + importWorkflow + "](" + s.workflowURL(importWorkflow) + ").",
	}
	if s.isPrimary() {
		lines = append(lines, "", "Exports start by "+s.params.Schedule.Expression+": ["+exportWorkflow+"]("+s.workflowURL(exportWorkflow)+").")
		if restorePointWindow(s.params.Schedule) == 0 {
			lines = append(lines, "", noWindowNote)
		}
	} else {
		lines = append(lines, "", "The backup is the replica of "+s.names.table()+" in this Region. Exports run in the primary Region and are watched there; "+
			"how old the backup is **here**, no metric says. The newest restore point:", "", "```", s.newestRestorePoint(), "```",
			"or start the import with `\"DryRun\": true`: its report lists all that have arrived completely.")
	}
	return awscloudwatch.NewTextWidget(&awscloudwatch.TextWidgetProps{
		Markdown: jsii.String(strings.Join(lines, "\n")), Width: jsii.Number(half), Height: jsii.Number(7),
	})
}

// newestRestorePoint is the command that asks this Region's table for it, no
// Region's outage in its way.
func (s *site) newestRestorePoint() string {
	return "aws dynamodb query --region " + s.region + " --table-name " + s.names.table() + " --no-scan-index-forward --max-items 1" +
		" --key-condition-expression '#id = :pool' --expression-attribute-names '{\"#id\": \"id\"}' --expression-attribute-values '{\":pool\": {\"S\": \"EXPORT-" + s.params.PrimaryUserPoolID + "\"}}'" +
		" --query 'Items[0].type.S'"
}

// noWindowNote says what CloudWatch cannot do for a slow schedule.
const noWindowNote = "**No alarm watches for a missing restore point:** alarms look back seven days at most, and exports of this schedule lie too far apart. " +
	"A failed export still raises an alarm; an export that never starts does not. Look at the age below."

func (s *site) addExportRows() {
	hourly := awscdk.Duration_Hours(jsii.Number(1))
	exported := func(name, statistic string) awscloudwatch.IMetric {
		return s.metric(exportWorkflow, name, statistic, hourly)
	}
	// EPOCH is the time of every point of the graph; times nothing plus EPOCH is
	// the time of the points that have a restore point, carried on by FILL.
	age := awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression:   jsii.String("(EPOCH(made) - FILL(made * 0 + EPOCH(made), REPEAT)) / 3600"),
		UsingMetrics: &map[string]awscloudwatch.IMetric{"made": exported(metricRestorePoint, "Sum")},
		Label:        jsii.String("Hours since the last restore point"),
		Period:       hourly,
	})
	s.addRow(
		single("Age of the newest restore point (hours)", quarter, age),
		single("Newest restore point", half, exported(metricUsers, "Maximum"), exported(metricGroups, "Maximum"), exported(metricMemberships, "Maximum")),
		single("Suspect", quarter, exported(metricSuspect, "Maximum")),
	)
	s.addRow(
		graph("Size of the backup", third, exported(metricUsers, "Maximum"), exported(metricGroups, "Maximum"), exported(metricMemberships, "Maximum")),
		graph("Changes per export", third, exported(metricAdded, "Sum"), exported(metricChanged, "Sum"), exported(metricRemoved, "Sum")),
		graph("Age of the newest restore point (hours)", third, age),
	)
}

func (s *site) addImportRows() {
	imported := func(name, statistic string) awscloudwatch.IMetric {
		return s.metric(importWorkflow, name, statistic, minutes(5))
	}
	depth := make([]awscloudwatch.IMetric, 0, len(s.queues))
	for _, queue := range s.liveQueues() {
		for _, name := range []string{queue, deadLetter(queue)} {
			depth = append(depth, s.queues[name].MetricApproximateNumberOfMessagesVisible(&awscloudwatch.MetricOptions{
				Statistic: jsii.String("Maximum"), Period: minutes(5), Label: jsii.String(name)}))
		}
	}
	soFar := func(name, label string) awscloudwatch.IMetric {
		id := strings.ToLower(name[:1]) + name[1:]
		return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
			Expression:   jsii.String("RUNNING_SUM(FILL(" + id + ", 0))"),
			UsingMetrics: &map[string]awscloudwatch.IMetric{id: imported(name, "Sum")},
			Label:        jsii.String(label),
			Period:       minutes(5),
		})
	}
	s.addRow(
		graph("Import: restored so far, within the time shown", third,
			soFar(metricUsersRestored, "Users"), soFar(metricMembershipsRestored, "Memberships")),
		graph("Import: outcome", third, imported(metricRestored, "Sum"), imported(metricDeferred, "Sum"),
			imported(metricConflicts, "Sum"), imported(metricFailed, "Sum")),
		graph("Queues: messages waiting", third, depth...),
	)
}

func (s *site) addOperationsRow() {
	var throttled, duration, errors, outcomes []awscloudwatch.IMetric
	for _, workflow := range s.liveWorkflows() {
		throttled = append(throttled, labelled(s.metric(workflow, metricThrottledCalls, "Sum", minutes(5)), workflow))
		duration = append(duration, labelled(s.metric(workflow, metricDurationSeconds, "Maximum", minutes(5)), workflow))
		outcomes = append(outcomes, s.failedExecutions(workflow),
			labelled(s.workflows[workflow].MetricSucceeded(&awscloudwatch.MetricOptions{Statistic: jsii.String("Sum")}), workflow+" succeeded"))
	}
	for _, step := range s.steps() {
		errors = append(errors, s.functions[step.name].MetricErrors(&awscloudwatch.MetricOptions{
			Statistic: jsii.String("Sum"), Label: jsii.String(step.name)}))
	}
	s.addRow(
		graph("Calls throttled by Cognito", quarter, throttled...),
		graph("Duration (seconds)", quarter, duration...),
		graph("Executions", quarter, outcomes...),
		graph("Function errors", quarter, errors...),
	)
	if s.isPrimary() {
		s.addRow(graph("Replication latency to "+s.params.SecondaryRegion+" (ms)", half, s.replicationLatency()))
	}
}

// replicationLatency is what the slowest change took to reach the replica.
func (s *site) replicationLatency() awscloudwatch.IMetric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: jsii.String("AWS/DynamoDB"), MetricName: jsii.String("ReplicationLatency"),
		DimensionsMap: &map[string]*string{
			"TableName": jsii.String(s.names.table()), "ReceivingRegion": jsii.String(s.params.SecondaryRegion)},
		Statistic: jsii.String("Maximum"), Period: minutes(5),
	})
}

func labelled(metric awscloudwatch.Metric, label string) awscloudwatch.IMetric {
	return metric.With(&awscloudwatch.MetricOptions{Label: jsii.String(label)})
}

func single(title string, width int, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewSingleValueWidget(&awscloudwatch.SingleValueWidgetProps{
		Title: jsii.String(title), Width: jsii.Number(width), Height: jsii.Number(4), Metrics: &metrics,
	})
}

func graph(title string, width int, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title: jsii.String(title), Width: jsii.Number(width), Height: jsii.Number(6), Left: &metrics,
	})
}
