package step

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Environment reads a function's environment variables and remembers every
// one that is missing or wrong, so that a faulty deployment is told in one go.
type Environment struct {
	lookup   func(string) (string, bool)
	problems []error
}

// NewEnvironment reads from the process.
func NewEnvironment() *Environment { return &Environment{lookup: os.LookupEnv} }

// String is the value of a required variable.
func (e *Environment) String(name string) string {
	v, ok := e.lookup(name)
	if !ok || v == "" {
		e.problems = append(e.problems, fmt.Errorf("environment variable %s is not set; deploy the stacks again", name))
	}
	return v
}

// Optional is the value of a variable that may be absent.
func (e *Environment) Optional(name string) string {
	v, _ := e.lookup(name)
	return v
}

// Int is the value of a required variable that holds a whole number.
func (e *Environment) Int(name string) int {
	v := e.String(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		e.problems = append(e.problems, fmt.Errorf("environment variable %s is %q, not a whole number; deploy the stacks again", name, v))
	}
	return n
}

// Err joins the problems met so far.
func (e *Environment) Err() error { return errors.Join(e.problems...) }
