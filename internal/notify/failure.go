package notify

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Failure is a run that failed, timed out or was aborted.
type Failure struct {
	Deployment
	Workflow string // ExportWorkflow or ImportWorkflow
	Status   string // FAILED, TIMED_OUT, ABORTED
	Step     string // state that failed; empty when none did
	Error    string // error name
	Cause    string // as Step Functions reports it
	DryRun   bool   // an import that was to write nothing
	Started  time.Time
	Ended    time.Time
}

// Message tells of the failure and of the next step.
func (f *Failure) Message() Message {
	var t text
	happened := map[string]string{"FAILED": "failed", "TIMED_OUT": "timed out", "ABORTED": "was aborted"}[f.Status]
	if happened == "" {
		happened = "ended as " + f.Status
	}
	t.line("%s %s", f.Workflow, happened+".")
	t.blank()
	if f.Step != "" {
		t.line("Step: %s", f.Step)
	}
	t.causes(f)
	if !f.Started.IsZero() {
		t.line("Started: %s", moment(f.Started))
	}
	if !f.Ended.IsZero() {
		t.line("Ended: %s", moment(f.Ended))
	}
	t.list("What to do:", f.nextSteps())
	t.footer(f.Deployment)
	where := ""
	if f.Step != "" {
		where = " in " + f.Step
	}
	return Message{
		Subject: subject(f.Prefix, "%s %s%s (%s)", f.Workflow, happened, where, f.Region),
		Body:    t.String(),
		Urgent:  true,
	}
}

func (f *Failure) nextSteps() []string {
	if f.Workflow == "ExportWorkflow" {
		steps := []string{"The restore points made so far are not affected."}
		if f.Error == "States.Permissions" || strings.Contains(f.Cause, "AccessDenied") {
			return append(steps, "A permission is missing: deploy the stacks again, or look at who changed the roles.")
		}
		if poolGone.MatchString(f.Cause) {
			return append(steps,
				"If the user pool was deleted, open a case with AWS Support at once: they can bring it back for 14 days, with passwords.",
				"If you cannot wait, make a new, empty user pool with the same settings and start ImportWorkflow in its Region with its id as NewUserPoolId.")
		}
		return append(steps, "The next scheduled run starts afresh. To try at once, start ExportWorkflow with {}.")
	}
	if f.DryRun || beforeWriting.MatchString(f.Step) {
		mend := "Mend the cause and start"
		if f.Status == "ABORTED" {
			mend = "To go on, start"
		}
		return []string{"Nothing was written to the user pool. " + mend + " ImportWorkflow again with the same input."}
	}
	if f.Status == "ABORTED" {
		return []string{`What was restored stays. To go on, start ImportWorkflow with the same input and "Mode": "MISSING_ONLY".`, f.unfinishedReport()}
	}
	return []string{`What was restored stays. Mend the cause and start ImportWorkflow again with the same input and "Mode": "MISSING_ONLY".`, f.unfinishedReport()}
}

// poolGone is how a cause says that the pool to back up is not there: in the
// words of the first step, or in Cognito's.
var poolGone = regexp.MustCompile(`(?i)user pool [\w-]+ does not exist`)

// beforeWriting are the states of the ImportWorkflow that only read the pool,
// with the choices and waits between them.
var beforeWriting = regexp.MustCompile(`CheckStateMachine|CheckNewUserPool|ScanTable`)

// unfinishedReport says where to read what an import had done before it ended.
func (f *Failure) unfinishedReport() string {
	return "If users were restored already, report.html and mapping.csv under reports/" + f.Execution[strings.LastIndexByte(f.Execution, ':')+1:] +
		"/ in this Region's bucket say which."
}

// maxCause keeps a cause readable; the execution has the whole of it.
const maxCause = 2000 // characters

// reason is the cause in words. Step Functions reports a function's error as
// JSON with errorMessage and errorType; only the message is for people. It
// begins with the step, which is told already.
func (f *Failure) reason() string {
	s := f.Cause
	var lambda struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}
	if json.Unmarshal([]byte(s), &lambda) == nil && lambda.Message+lambda.Type != "" {
		s = lambda.Message
		if s == "" {
			s = lambda.Type
		}
	}
	s = strings.TrimPrefix(strings.TrimSpace(s), f.Step+": ")
	s = sdkNoise.ReplaceAllString(s, "$1 $2: ")
	switch {
	case f.Error == "Runtime.ExitError":
		return "the function's process ended in the middle of its work again and again, most often for lack of memory; its log group has more."
	case f.Error == "Sandbox.Timedout":
		return "the function ran into its time-out again and again; its log group has more."
	}
	if s == "" {
		s = defaultCause(f.Status, f.Error)
	}
	if utf8.RuneCountInString(s) > maxCause {
		s = string([]rune(s)[:maxCause]) + "..."
	}
	return s
}

// sdkNoise is what the SDK puts around an error of AWS: the protocol's answer,
// request ids, host ids. Service and operation stay.
var sdkNoise = regexp.MustCompile(`operation error ([^:]+): (\w+), (?:exceeded maximum number of attempts, \d+, )?` +
	`https? response error StatusCode: \d+, (?:RequestID: [^,]*, )?(?:HostID: [^,]*, )?(?:api error )?`)

// causes writes the reason: a sentence, or a list when it has several lines,
// as the findings of a pre-flight have.
func (t *text) causes(f *Failure) {
	heading := "Cause:"
	var items []string
	for i, line := range strings.Split(f.reason(), "\n") {
		line = strings.TrimLeft(strings.TrimSpace(line), "- ")
		switch {
		case line == "":
		case i == 0 && strings.HasSuffix(line, ":"):
			heading += " " + line
		case strings.HasSuffix(line, "."):
			items = append(items, line)
		default:
			items = append(items, line+".")
		}
	}
	if len(items) == 1 {
		t.say("", "%s %s", heading, items[0])
		return
	}
	t.say("", "%s", heading)
	for _, item := range items {
		t.say("- ", "%s", item)
	}
}

func defaultCause(status, name string) string {
	switch {
	case name == "States.Timeout" || status == "TIMED_OUT":
		return "it ran longer than it may."
	case status == "ABORTED":
		return "somebody stopped the execution and gave no reason."
	case name == "States.DataLimitExceeded":
		return "the data passed between two steps grew beyond what Step Functions allows."
	case name != "":
		return "the step ended with the error " + name + " and no explanation; its log group has more."
	}
	return "Step Functions gave none; the execution has more."
}
