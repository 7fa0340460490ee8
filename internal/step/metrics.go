package step

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// MetricNamespace is the CloudWatch namespace of all metrics.
const MetricNamespace = "CognitoBackup"

// Metrics writes metrics as log lines in CloudWatch's embedded metric format,
// with the dimensions StackPrefix and Workflow.
type Metrics struct {
	StackPrefix string
	Out         io.Writer
	Now         func() time.Time

	mu sync.Mutex
}

// Emit writes one line with all values. Units are Count but for names that end
// in Seconds. Without metrics it does nothing.
func (m *Metrics) Emit(workflow string, values map[string]float64) error {
	if m == nil || len(values) == 0 {
		return nil
	}
	type definition struct {
		Name string
		Unit string
	}
	line := map[string]any{"StackPrefix": m.StackPrefix, "Workflow": workflow}
	var definitions []definition
	for name, value := range values {
		unit := "Count"
		if len(name) > 7 && name[len(name)-7:] == "Seconds" {
			unit = "Seconds"
		}
		definitions = append(definitions, definition{name, unit})
		line[name] = value
	}
	line["_aws"] = map[string]any{
		"Timestamp": m.Now().UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace":  MetricNamespace,
			"Dimensions": [][]string{{"StackPrefix", "Workflow"}},
			"Metrics":    definitions,
		}},
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err = m.Out.Write(append(b, '\n'))
	return err
}
