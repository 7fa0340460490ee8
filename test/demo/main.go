// Command demo is the main job of this project on one machine: a user pool is
// backed up by the schedule, lost, and restored in the other Region, by the
// templates under cdk.out and the functions built from these sources, on the
// local testbed. At the end it compares the restored pool with its own record
// of what it had made, not with the product's report.
//
// It exits 0 when everything came back, 1 when anything is missing or failed,
// 2 when it was called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// options of one demo.
type options struct {
	assembly string
	source   string // module root, from which the functions are built
	users    int
	groups   int
	seed     uint64
	kind     seed.Kind
	from     string
	factor   float64
	kill     int
	tamper   string
	reports  string
	timeout  time.Duration
	verbose  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, printPoolID, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 2
	}
	if printPoolID {
		s, err := cognito.ReadCLI(o.from)
		if err != nil {
			fmt.Fprintln(stderr, "demo:", unreadable(o.from, err))
			return 2
		}
		fmt.Fprintln(stdout, s.Pool.Id)
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	result, err := (&demo{options: o, out: newDisplay(stdout)}).play(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(stderr, "demo: not finished after %s; -timeout gives it longer\n", o.timeout)
		return 1
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "demo: stopped")
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	case !result.Verified():
		return 1
	}
	return 0
}

func unreadable(folder string, err error) error {
	return fmt.Errorf("FROM=%s cannot be read as the AWS CLI's output of a user pool (describe-user-pool.json, list-users.json, "+
		"list-groups.json, list-users-in-group-<name>.json): %w", folder, err)
}

func parse(args []string, stderr io.Writer) (o options, printPoolID bool, err error) {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.assembly, "assembly", "cdk.out", "cloud assembly to deploy")
	f.StringVar(&o.source, "source", ".", "root of this module")
	users := f.String("users", "500", "users of the made-up pool")
	groups := f.String("groups", "105", "groups of the made-up pool")
	number := f.String("seed", "1", "number from which the made-up pool follows")
	kind := f.String("kind", string(seed.Plain), fmt.Sprintf("sign-in of the made-up pool: one of %q", seed.Kinds))
	f.StringVar(&o.from, "from", "", "folder with the AWS CLI's output of a pool, instead of a made-up one")
	f.BoolVar(&printPoolID, "print-pool-id", false, "print the id of the pool in -from and end")
	f.Float64Var(&o.factor, "factor", 4, "how much faster Wait states, import jobs and schedules run; functions never do")
	f.IntVar(&o.kill, "kill", 0, "kill every function so often in the middle of its work, at most 5 times")
	f.StringVar(&o.tamper, "tamper", "", "change one attribute, flag or membership of the restored pool by hand, to see the comparison fail")
	f.StringVar(&o.reports, "reports", ".build/demo-reports", "folder that receives the import's reports")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "give up after this long")
	f.BoolVar(&o.verbose, "verbose", false, "print the log lines of the functions")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, false, err
		}
		return o, false, errors.New("see -help")
	}
	whole := func(name, text string, most int) int {
		n, parseErr := strconv.Atoi(text)
		if parseErr != nil || n < 0 || n > most {
			err = errors.Join(err, fmt.Errorf("%s=%s: give a whole number from 0 to %d", name, text, most))
		}
		return n
	}
	// The names are those of the Makefile's variables, by which people call this.
	o.users = whole("USERS", *users, 1_000_000)
	o.groups = whole("USER_GROUPS", *groups, 10_000)
	o.seed = uint64(whole("SEED", *number, 1<<62))
	o.kind = seed.Kind(*kind)
	if !slices.Contains(seed.Kinds, o.kind) {
		err = errors.Join(err, fmt.Errorf("-kind %q: give one of %q", *kind, seed.Kinds))
	}
	switch o.tamper {
	case "", "attribute", "flag", "membership":
	default:
		err = errors.Join(err, fmt.Errorf("-tamper %s: give attribute, flag or membership", o.tamper))
	}
	if o.kill < 0 || o.kill > 5 {
		err = errors.Join(err, fmt.Errorf("-kill %d: give a whole number from 0 to 5", o.kill))
	}
	if f.NArg() > 0 {
		err = errors.Join(err, fmt.Errorf("%s is no option: options begin with a dash, see -help", f.Arg(0)))
	}
	if printPoolID && o.from == "" {
		err = errors.Join(err, errors.New("-print-pool-id needs -from"))
	}
	if o.factor <= 0 {
		err = errors.Join(err, fmt.Errorf("-factor %g: give a number above 0", o.factor))
	}
	return o, printPoolID, err
}
