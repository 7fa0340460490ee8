package sim

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"cognito-backup/internal/step"
)

// Bucket is a bucket in memory that answers after a latency and lists a
// thousand keys a page.
type Bucket struct {
	latency time.Duration

	mu      sync.Mutex
	objects map[string][]byte
	sorted  []string // keys in order; nil after a change of the set
	made    Requests
}

// Requests are calls that S3 and SQS bill by their number.
type Requests struct {
	Writes    int // of S3: PUT and LIST, which cost the same
	Reads     int // of S3: GET
	Deletions int // of S3: free
	Queue     int // of SQS: one for each 64 KB begun of a call
}

func (r Requests) minus(o Requests) Requests {
	return Requests{r.Writes - o.Writes, r.Reads - o.Reads, r.Deletions - o.Deletions, r.Queue - o.Queue}
}

var _ step.ObjectsAPI = (*Bucket)(nil)

const keysPerPage = 1000

// Bytes is the content of an object.
func (b *Bucket) Bytes(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key]
}

// Requests are the calls that have reached the bucket.
func (b *Bucket) Requests() Requests {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made
}

// begin waits, counts the call and returns with the lock held.
func (b *Bucket) begin(ctx context.Context, calls *int) error {
	if err := reach(ctx, b.latency); err != nil {
		return err
	}
	b.mu.Lock()
	*calls++
	return nil
}

// PutObject implements step.ObjectsAPI.
func (b *Bucket) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	content, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	if err := b.begin(ctx, &b.made.Writes); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string][]byte{}
	}
	if _, there := b.objects[*in.Key]; !there {
		b.insert(*in.Key)
	}
	b.objects[*in.Key] = slices.Clip(content)
	return &s3.PutObjectOutput{}, nil
}

func (b *Bucket) insert(key string) {
	at, _ := slices.BinarySearch(b.sorted, key)
	b.sorted = slices.Insert(b.sorted, at, key)
}

// GetObject implements step.ObjectsAPI.
func (b *Bucket) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	if err := b.begin(ctx, &b.made.Reads); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	content, ok := b.objects[*in.Key]
	if !ok {
		return nil, &types.NoSuchKey{}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(content)), ContentLength: aws.Int64(int64(len(content)))}, nil
}

// page is the keys of one page and whether more follow.
func (b *Bucket) page(prefix, after string) (keys []string, more bool) {
	at, exact := slices.BinarySearch(b.sorted, max(prefix, after))
	if exact && after != "" && after >= prefix {
		at++
	}
	for _, key := range b.sorted[at:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if len(keys) == keysPerPage {
			return keys, true
		}
		keys = append(keys, key)
	}
	return keys, false
}

// ListObjectsV2 implements step.ObjectsAPI.
func (b *Bucket) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	if err := b.begin(ctx, &b.made.Writes); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	keys, more := b.page(aws.ToString(in.Prefix), aws.ToString(cmpOr(in.ContinuationToken, in.StartAfter)))
	out := &s3.ListObjectsV2Output{IsTruncated: &more}
	for _, key := range keys {
		out.Contents = append(out.Contents, types.Object{Key: &key})
	}
	if more {
		out.NextContinuationToken = &keys[len(keys)-1]
	}
	return out, nil
}

func cmpOr(a, b *string) *string {
	if a != nil {
		return a
	}
	return b
}

// ListObjectVersions implements step.ObjectsAPI: each object has one version.
func (b *Bucket) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	if err := b.begin(ctx, &b.made.Writes); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	keys, more := b.page(aws.ToString(in.Prefix), aws.ToString(in.KeyMarker))
	out := &s3.ListObjectVersionsOutput{IsTruncated: &more}
	for _, key := range keys {
		out.Versions = append(out.Versions, types.ObjectVersion{Key: &key, VersionId: aws.String("1")})
	}
	if more {
		out.NextKeyMarker, out.NextVersionIdMarker = &keys[len(keys)-1], aws.String("1")
	}
	return out, nil
}

// DeleteObjects implements step.ObjectsAPI.
func (b *Bucket) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	if err := b.begin(ctx, &b.made.Deletions); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	for _, id := range in.Delete.Objects {
		if _, there := b.objects[*id.Key]; there {
			delete(b.objects, *id.Key)
			at, _ := slices.BinarySearch(b.sorted, *id.Key)
			b.sorted = slices.Delete(b.sorted, at, at+1)
		}
	}
	return &s3.DeleteObjectsOutput{}, nil
}
