package step

import (
	"context"
	"log/slog"
)

// Keys of log lines; searches rely on them.
const (
	LogExecution = "execution"
	LogStep      = "step"
	LogCount     = "count"
	LogError     = "error"
)

type logKey struct{}

// LogRun makes every line that is logged with the context name the execution
// and the step, so that all that is said about a run can be found.
func LogRun(ctx context.Context, execution, step string) context.Context {
	return context.WithValue(ctx, logKey{}, []slog.Attr{slog.String(LogExecution, execution), slog.String(LogStep, step)})
}

// runHandler adds what LogRun has noted.
type runHandler struct{ slog.Handler }

func (h runHandler) Handle(ctx context.Context, record slog.Record) error {
	if run, ok := ctx.Value(logKey{}).([]slog.Attr); ok {
		record.AddAttrs(run...)
	}
	return h.Handler.Handle(ctx, record)
}

func (h runHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return runHandler{h.Handler.WithAttrs(attrs)}
}

func (h runHandler) WithGroup(name string) slog.Handler { return runHandler{h.Handler.WithGroup(name)} }
