// Package steptest lends tests and simulations an S3 bucket in memory and a
// runner for steps.
package steptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Bucket is a bucket in memory, without versioning.
type Bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	read    []string
}

var _ step.ObjectsAPI = (*Bucket)(nil)

// Keys returns the names of all objects, sorted.
func (b *Bucket) Keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// Read returns the keys that were asked for, in the order of the calls.
func (b *Bucket) Read() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.read)
}

// Bytes returns the content of an object.
func (b *Bucket) Bytes(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key]
}

// PutObject implements step.ObjectsAPI.
func (b *Bucket) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	content, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string][]byte{}
	}
	b.objects[*in.Key] = content
	return &s3.PutObjectOutput{}, ctx.Err()
}

// GetObject implements step.ObjectsAPI.
func (b *Bucket) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = append(b.read, *in.Key)
	content, ok := b.objects[*in.Key]
	if !ok {
		return nil, &types.NoSuchKey{}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(content)), ContentLength: aws.Int64(int64(len(content)))}, ctx.Err()
}

// ListObjectsV2 implements step.ObjectsAPI; everything is on one page.
func (b *Bucket) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out := new(s3.ListObjectsV2Output)
	for _, key := range b.Keys() {
		if strings.HasPrefix(key, aws.ToString(in.Prefix)) {
			out.Contents = append(out.Contents, types.Object{Key: aws.String(key)})
		}
	}
	return out, ctx.Err()
}

// ListObjectVersions implements step.ObjectsAPI: each object has one version.
func (b *Bucket) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	out := new(s3.ListObjectVersionsOutput)
	for _, key := range b.Keys() {
		if strings.HasPrefix(key, aws.ToString(in.Prefix)) {
			out.Versions = append(out.Versions, types.ObjectVersion{Key: aws.String(key), VersionId: aws.String("1")})
		}
	}
	return out, ctx.Err()
}

// DeleteObjects implements step.ObjectsAPI.
func (b *Bucket) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range in.Delete.Objects {
		delete(b.objects, *id.Key)
	}
	return &s3.DeleteObjectsOutput{}, ctx.Err()
}

// Workflow runs steps one after the other, slice by slice, as the state
// machine does, the run's document passing through JSON between them.
type Workflow struct {
	Name      string
	Execution string // name
	Input     string // JSON
	Run       step.Run
	Bucket    *Bucket
	Slice     time.Duration
	Now       func() time.Time
	// Slices counts the slices of each step.
	Slices map[string]int
}

// Do runs a step until it is done.
func (w *Workflow) Do(ctx context.Context, name string, s step.Step) error {
	if w.Slices == nil {
		w.Slices = map[string]int{}
	}
	runner := &step.Runner{Step: s, Objects: &step.Objects{API: w.Bucket, Bucket: "bucket"}, Slice: w.Slice, Now: w.Now}
	for {
		w.Slices[name]++
		out, err := runner.Handle(ctx, step.Event{
			Workflow: w.Name, Step: name, Input: json.RawMessage(w.Input), Run: w.Run,
			Execution: "arn:aws:states:eu-west-1:123456789012:execution:" + w.Name + ":" + w.Execution,
		})
		if err != nil {
			return err
		}
		b, err := json.Marshal(out)
		if err != nil {
			return err
		}
		w.Run = step.Run{}
		if err := json.Unmarshal(b, &w.Run); err != nil {
			return err
		}
		if w.Run.WaitSeconds > 0 {
			return fmt.Errorf("%s asks to wait %d s, which this workflow does not do", name, w.Run.WaitSeconds)
		}
		if w.Run.Cursor == "" {
			return nil
		}
	}
}
