package step

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ObjectsAPI is what Objects needs of S3.
type ObjectsAPI interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
}

// Objects are the working objects of runs in the Region's bucket. Everything
// too large or too personal for state and queues lives there.
type Objects struct {
	API    ObjectsAPI
	Bucket string
}

// ErrNoObject says that there is no object of that name.
var ErrNoObject = errors.New("no such object")

// Put stores v as JSON.
func (o *Objects) Put(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode object %s: %w", key, err)
	}
	return o.PutBytes(ctx, key, "application/json", b)
}

// PutBytes stores b under the content type.
func (o *Objects) PutBytes(ctx context.Context, key, contentType string, b []byte) error {
	_, err := o.API.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &o.Bucket, Key: &key, Body: bytes.NewReader(b), ContentType: &contentType,
	})
	if err != nil {
		return fmt.Errorf("put object %s: %w", key, err)
	}
	return nil
}

// Get reads a JSON object into v; the error is ErrNoObject when there is none.
func (o *Objects) Get(ctx context.Context, key string, v any) error {
	b, err := o.GetBytes(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode object %s: %w", key, err)
	}
	return nil
}

// GetBytes reads an object; the error is ErrNoObject when there is none.
func (o *Objects) GetBytes(ctx context.Context, key string) ([]byte, error) {
	out, err := o.API.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &key})
	if none := new(types.NoSuchKey); errors.As(err, &none) {
		return nil, fmt.Errorf("get object %s: %w", key, ErrNoObject)
	}
	if err != nil {
		return nil, fmt.Errorf("get object %s: %w", key, err)
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	if err != nil { // a connection that broke, which the SDK's retryer no longer sees
		return nil, &TransientError{Err: fmt.Errorf("read object %s: %w", key, err)}
	}
	return b, nil
}

// List returns the keys under the prefix in S3's order.
func (o *Objects) List(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(o.API, &s3.ListObjectsV2Input{Bucket: &o.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list objects %s: %w", prefix, err)
		}
		for _, object := range page.Contents {
			keys = append(keys, aws.ToString(object.Key))
		}
	}
	return keys, nil
}

// DeleteAll removes every object under the prefix, each of its versions and
// delete markers included, so that nothing of it remains in a versioned bucket.
func (o *Objects) DeleteAll(ctx context.Context, prefix string) error {
	pages := s3.NewListObjectVersionsPaginator(o.API, &s3.ListObjectVersionsInput{Bucket: &o.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list object versions %s: %w", prefix, err)
		}
		var ids []types.ObjectIdentifier // at most 1,000 a page, the limit of DeleteObjects
		for _, version := range page.Versions {
			ids = append(ids, types.ObjectIdentifier{Key: version.Key, VersionId: version.VersionId})
		}
		for _, marker := range page.DeleteMarkers {
			ids = append(ids, types.ObjectIdentifier{Key: marker.Key, VersionId: marker.VersionId})
		}
		if len(ids) == 0 {
			continue
		}
		out, err := o.API.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: &o.Bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return fmt.Errorf("delete objects %s: %w", prefix, err)
		}
		if len(out.Errors) > 0 {
			first := out.Errors[0]
			return fmt.Errorf("delete objects %s: %d failed, the first with %s: %s",
				prefix, len(out.Errors), aws.ToString(first.Code), aws.ToString(first.Message))
		}
	}
	return nil
}
