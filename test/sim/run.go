package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
)

// Case is one simulation: an export of a pool and a restore into an empty one.
type Case struct {
	Shape
	TPS     int
	Shards  int
	Slice   time.Duration // that of the templates when zero
	CSVRate float64       // users a second of an import job; 0: no CSV import is possible
	Latency Latency
	// Validate holds every call against the API models; it costs time.
	Validate bool
	// ExportOnly leaves the restore out.
	ExportOnly bool
	// Repeat exports twice more: the pool unchanged, then with one user in a
	// hundred changed.
	Repeat bool
	// Quotas are other than AWS's default ones, by category.
	Quotas map[string]float64
	// OnCall is told of each call when it reaches its service; nil for nobody.
	OnCall func(operation string, throttled bool) `json:"-"`
}

// Outcome is what a simulation showed.
type Outcome struct {
	Case
	Export       *Execution
	ExportFloor  time.Duration
	ExportUsage  Usage
	Unchanged    *Repeated     `json:",omitempty"`
	Changed      *Repeated     `json:",omitempty"`
	Restore      *Execution    `json:",omitempty"`
	RestoreFloor time.Duration `json:",omitempty"`
	RestoreUsage Usage
	Throttled    int             // calls that the functions made
	Calls        map[string]int  // that Cognito carried out, by operation
	Spans        map[string]Span // when calls that Cognito carried out reached it, by operation
	Wall         time.Duration   `json:"-"` // filled in by the caller
}

// Repeated is one more export.
type Repeated struct {
	Execution *Execution
	Usage     Usage
}

// ExportRatio is how much longer than its floor the export took.
func (o *Outcome) ExportRatio() float64 { return o.Export.Duration.Seconds() / o.ExportFloor.Seconds() }

// RestoreRatio is how much longer than its floor the restore took.
func (o *Outcome) RestoreRatio() float64 {
	return o.Restore.Duration.Seconds() / o.RestoreFloor.Seconds()
}

const (
	sourceID = Region + "_Source"
	targetID = Region + "_Target"
)

// Run carries the simulation out.
func (c Case) Run(definitions Definitions) (*Outcome, error) {
	cloud := NewCloud(c.Latency)
	cloud.Validate, cloud.OnCall = c.Validate, c.OnCall
	o, err := c.run(cloud, definitions)
	if closed := cloud.Close(); err == nil {
		err = closed
	}
	return o, err
}

func (c Case) run(cloud *Cloud, definitions Definitions) (*Outcome, error) {
	cloud.Cognito.Settings().Update(func(v *cognito.Values) {
		v.ImportRate = c.CSVRate
		maps.Copy(v.Quotas, c.Quotas)
	})
	if _, err := cloud.Cognito.Seed(c.Seed(sourceID)); err != nil {
		return nil, err
	}
	runtime.GC() // the seed is large, and virtual time leaves the collector none
	d := Deployment{PoolID: sourceID, TPS: c.TPS, Shards: max(1, c.Shards), Slice: c.Slice}
	if d.Slice == 0 {
		d.Slice = slice
	}
	rates := Rates{TPS: c.TPS}
	o := &Outcome{Case: c, ExportFloor: c.ExportFloor(rates), RestoreFloor: c.RestoreFloor(rates, c.CSVRate), Calls: map[string]int{}}
	var err error
	if o.Export, err = cloud.Execute(definitions, "ExportWorkflow", "export", "{}", d); err != nil {
		return nil, err
	}
	o.ExportUsage = cloud.Table.Usage()
	if c.Repeat {
		if o.Unchanged, err = c.again(cloud, definitions, d, "unchanged"); err != nil {
			return nil, err
		}
		before := cloud.throttled()
		for i := 0; i < c.Users; i += 100 {
			if err := cloud.change(sourceID, username(i)); err != nil {
				return nil, err
			}
		}
		o.Throttled -= cloud.throttled() - before // the application's
		if o.Changed, err = c.again(cloud, definitions, d, "changed"); err != nil {
			return nil, err
		}
	}
	if !c.ExportOnly {
		if err := c.restore(cloud, definitions, d, o); err != nil {
			return nil, err
		}
	}
	for operation, n := range cloud.Cognito.Counts() {
		o.Calls[operation] = n.Succeeded
	}
	o.Throttled += cloud.throttled()
	o.Spans = cloud.Spans()
	if o.Throttled > 0 && c.withinQuotas() {
		return nil, fmt.Errorf("%d calls were throttled, though CognitoTPS %d is within the quotas", o.Throttled, c.TPS)
	}
	return o, nil
}

// again exports once more and says what that used.
func (c Case) again(cloud *Cloud, definitions Definitions, d Deployment, name string) (*Repeated, error) {
	cloud.Table.ResetUsage()
	e, err := cloud.Execute(definitions, "ExportWorkflow", name, "{}", d)
	return &Repeated{e, cloud.Table.Usage()}, err
}

func (c Case) restore(cloud *Cloud, definitions Definitions, d Deployment, o *Outcome) error {
	if err := cloud.lose(sourceID); err != nil {
		return err
	}
	empty := Shape{}.Seed(targetID)
	if c.CSVRate == 0 {
		empty.Pool.AutoVerifiedAttributes = nil
	}
	if _, err := cloud.Cognito.Seed(empty); err != nil {
		return err
	}
	cloud.Table.ResetUsage()
	var err error
	o.Restore, err = cloud.Execute(definitions, "ImportWorkflow", "import", fmt.Sprintf(`{"NewUserPoolId": %q}`, targetID), d)
	if err != nil {
		return err
	}
	o.RestoreUsage = cloud.Table.Usage()
	var report restore.Report
	if err := json.Unmarshal(cloud.Bucket.Bytes("reports/import/report.json"), &report); err != nil {
		return fmt.Errorf("the import's report: %w", err)
	}
	if !report.Verified || report.Users.Restored != int64(c.Users) || report.Memberships.Restored != int64(c.Memberships()) {
		return fmt.Errorf("not everything came back: users %+v, memberships %+v, problems %+v", report.Users, report.Memberships, report.Problems)
	}
	// The report is the product's own word.
	restored, err := cloud.Cognito.Snapshot(targetID)
	if err != nil {
		return err
	}
	if err := c.Shape.holds(restored); err != nil {
		return fmt.Errorf("what was restored is not what was lost: %w", err)
	}
	return nil
}

// withinQuotas says that no call of the functions is to be throttled. Quotas
// that cannot be raised they keep by themselves; the others are at their
// documented defaults, and CognitoTPS is to be no more.
func (c Case) withinQuotas() bool {
	for _, category := range []pool.Category{pool.UserRead, pool.UserCreation, pool.UserResourceRead} {
		if float64(c.TPS) > pool.DefaultQuota(category) {
			return false
		}
	}
	return len(c.Quotas) == 0
}
