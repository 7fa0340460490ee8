package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"cognito-backup/test/localaws/wire"
)

const region = "eu-west-1"

// server serves S3 without a gateway; denied lists actions that nobody may do.
func server(t *testing.T, denied ...string) (*Service, *s3.Client) {
	t.Helper()
	service := New(&wire.Clock{})
	for name, versioned := range map[string]bool{"versioned": true, "plain": false} {
		if err := service.CreateBucket(name, region, "", versioned); err != nil {
			t.Fatal(err)
		}
	}
	if err := service.CreateBucket("elsewhere", "us-east-1", "", false); err != nil {
		t.Fatal(err)
	}
	allow := func(p wire.Permission) bool {
		for _, action := range denied {
			if p.Action == action {
				return false
			}
		}
		return true
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := Parse(r)
		request.Region, request.Allow = region, allow
		for _, p := range request.Permissions() {
			if !allow(p) {
				WriteError(w, r, http.StatusForbidden, "AccessDenied", p.Action)
				return
			}
		}
		service.ServeHTTP(w, request)
	}))
	t.Cleanup(h.Close)
	return service, s3.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &h.URL, Credentials: credentials.NewStaticCredentialsProvider("k", "s", "token")})
}

func put(t *testing.T, c *s3.Client, bucket, key, content string) string {
	t.Helper()
	out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.VersionId)
}

func get(t *testing.T, c *s3.Client, bucket, key, version string) string {
	t.Helper()
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	out, err := c.GetObject(t.Context(), in)
	if err != nil {
		return code(err)
	}
	b, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestVersions(t *testing.T) {
	service, c := server(t)
	ctx := t.Context()
	first := put(t, c, "versioned", "a", "one")
	second := put(t, c, "versioned", "a", "two")
	if first == "" || first == second {
		t.Fatalf("versions %q and %q", first, second)
	}
	if got := get(t, c, "versioned", "a", first); got != "one" {
		t.Errorf("first version = %q", got)
	}
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("versioned"), Key: aws.String("a")}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "versioned", "a", ""); got != "NoSuchKey" {
		t.Errorf("after the delete: %q", got)
	}
	list, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("versioned")})
	if err != nil || len(list.Versions) != 2 || len(list.DeleteMarkers) != 1 || !*list.DeleteMarkers[0].IsLatest || *list.Versions[0].VersionId != second {
		t.Fatalf("versions %+v, markers %+v, %v", list.Versions, list.DeleteMarkers, err)
	}
	if head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("versioned"), Key: aws.String("a"), VersionId: &first}); err != nil || *head.ContentLength != 3 || *head.VersionId != first {
		t.Errorf("head of the first version: %+v, %v", head, err)
	}
	// Without its marker the object is back; without the current version, the one before is current.
	for _, id := range []string{*list.DeleteMarkers[0].VersionId, second} {
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("versioned"), Key: aws.String("a"), VersionId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	if got := get(t, c, "versioned", "a", ""); got != "one" {
		t.Errorf("after deleting marker and second version: %q", got)
	}
	out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String("versioned"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("a"), VersionId: &first}}}})
	if err != nil || len(out.Deleted) != 1 || len(out.Errors) != 0 {
		t.Fatalf("deleted %+v, %v", out, err)
	}
	if keys := service.Keys("versioned"); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
}

func TestVersionPages(t *testing.T) {
	_, c := server(t)
	want := 0
	for i := range 4 {
		for range i + 1 {
			put(t, c, "versioned", fmt.Sprintf("run/%d", i), "x")
			want++
		}
	}
	put(t, c, "versioned", "zzz", "x")
	for _, size := range []int32{1, 2, 3, 7, 100} {
		seen := map[string]bool{}
		pages := s3.NewListObjectVersionsPaginator(c, &s3.ListObjectVersionsInput{Bucket: aws.String("versioned"), Prefix: aws.String("run/"), MaxKeys: &size})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Versions) > int(size) {
				t.Errorf("a page of %d for at most %d", len(page.Versions), size)
			}
			for _, v := range page.Versions {
				seen[*v.Key+*v.VersionId] = true
			}
		}
		if len(seen) != want {
			t.Errorf("pages of %d: %d versions, want %d", size, len(seen), want)
		}
	}
}

func TestListing(t *testing.T) {
	_, c := server(t)
	for _, key := range []string{"a", "b/1", "b/2", "b/c/3", "d", "日本/x y+z", "e"} {
		put(t, c, "plain", key, key)
	}
	list := func(in *s3.ListObjectsV2Input) (keys, folders []string) {
		in.Bucket = aws.String("plain")
		pages := s3.NewListObjectsV2Paginator(c, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				keys = append(keys, *o.Key)
			}
			for _, p := range page.CommonPrefixes {
				folders = append(folders, *p.Prefix)
			}
		}
		return keys, folders
	}
	for _, size := range []int32{1, 2, 1000} {
		keys, folders := list(&s3.ListObjectsV2Input{MaxKeys: &size})
		if got := strings.Join(keys, " "); got != "a b/1 b/2 b/c/3 d e 日本/x y+z" || folders != nil {
			t.Errorf("pages of %d: %q %q", size, keys, folders)
		}
		keys, folders = list(&s3.ListObjectsV2Input{MaxKeys: &size, Delimiter: aws.String("/")})
		if fmt.Sprint(keys, folders) != "[a d e] [b/ 日本/]" {
			t.Errorf("folders in pages of %d: %q %q", size, keys, folders)
		}
		keys, folders = list(&s3.ListObjectsV2Input{MaxKeys: &size, Prefix: aws.String("b/"), Delimiter: aws.String("/")})
		if fmt.Sprint(keys, folders) != "[b/1 b/2] [b/c/]" {
			t.Errorf("below b/ in pages of %d: %q %q", size, keys, folders)
		}
		keys, _ = list(&s3.ListObjectsV2Input{MaxKeys: &size, StartAfter: aws.String("b/2")})
		if fmt.Sprint(keys) != "[b/c/3 d e 日本/x y+z]" {
			t.Errorf("after b/2 in pages of %d: %q", size, keys)
		}
	}
	if got := get(t, c, "plain", "日本/x y+z", ""); got != "日本/x y+z" {
		t.Errorf("content = %q", got)
	}
}

func TestUploads(t *testing.T) {
	_, c := server(t)
	content := make([]byte, 12<<20)
	rand.Read(content)
	read := func(key string) []byte {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("plain"), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(out.Body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	t.Run("multipart", func(t *testing.T) {
		in := &s3.CreateMultipartUploadInput{Bucket: aws.String("plain"), Key: aws.String("big"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}
		upload, err := c.CreateMultipartUpload(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var parts []types.CompletedPart
		for i := range 3 {
			n := int32(i + 1)
			body := bytes.NewReader(content[i<<22 : (i+1)<<22])
			part, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: in.Bucket, Key: in.Key, UploadId: upload.UploadId, PartNumber: &n, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, types.CompletedPart{PartNumber: &n, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
		}
		if got, err := c.ListParts(t.Context(), &s3.ListPartsInput{Bucket: in.Bucket, Key: in.Key, UploadId: upload.UploadId}); err != nil || len(got.Parts) != 3 {
			t.Errorf("parts %+v, %v", got, err)
		}
		if _, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: upload.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read("big"), content) {
			t.Error("content differs")
		}
		part, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: in.Bucket, Key: in.Key, Range: aws.String("bytes=1000-1999")})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(part.Body); err != nil || !bytes.Equal(b, content[1000:2000]) {
			t.Errorf("range: %d bytes, %v", len(b), err)
		}
		upload, err = c.CreateMultipartUpload(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: upload.UploadId}); err != nil {
			t.Error(err)
		}
	})
	t.Run("every checksum algorithm", func(t *testing.T) {
		for _, a := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
			if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plain"), Key: aws.String("sum"), Body: strings.NewReader("123456789"), ChecksumAlgorithm: a}); err != nil {
				t.Errorf("%s: %v", a, err)
			}
		}
	})
	t.Run("wrong checksum", func(t *testing.T) {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plain"), Key: aws.String("sum"), Body: strings.NewReader("x"), ChecksumCRC32: aws.String("AAAAAA==")})
		if code(err) != "BadDigest" {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("only if absent", func(t *testing.T) {
		in := func() *s3.PutObjectInput {
			return &s3.PutObjectInput{Bucket: aws.String("versioned"), Key: aws.String("once"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}
		}
		if _, err := c.PutObject(t.Context(), in()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PutObject(t.Context(), in()); code(err) != "PreconditionFailed" {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("no secrets in metadata", func(t *testing.T) {
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plain"), Key: aws.String("m"), Body: strings.NewReader("x"), Metadata: map[string]string{"kind": "test"}, ContentType: aws.String("text/csv")}); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("plain"), Key: aws.String("m")}, func(o *s3.Options) { o.APIOptions = nil })
		if err != nil || out.Metadata["kind"] != "test" || aws.ToString(out.ContentType) != "text/csv" {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

// TestChunked sends what the SDKs send to HTTPS endpoints: signed chunks, and
// unsigned ones with a trailing checksum.
func TestChunked(t *testing.T) {
	_, c := server(t)
	endpoint := *c.Options().BaseEndpoint
	for name, b := range map[string]struct {
		sha, body, trailer string
		status             int
	}{
		"signed":         {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "5;chunk-signature=ab\r\nhello\r\n6;chunk-signature=cd\r\n world\r\n0;chunk-signature=ef\r\n\r\n", "", 200},
		"trailer":        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "x-amz-checksum-crc32", 200},
		"signed trailer": {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "b;chunk-signature=ab\r\nhello world\r\n0;chunk-signature=ab\r\nx-amz-checksum-crc32:DUoRhQ==\r\nx-amz-trailer-signature:ab\r\n\r\n", "x-amz-checksum-crc32", 200},
		"bad trailer":    {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "x-amz-checksum-crc32", 400},
		"cut short":      {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "b\r\nhello", "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, endpoint+"/plain/chunked", strings.NewReader(b.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Amz-Content-Sha256", b.sha)
			r.Header.Set("X-Amz-Decoded-Content-Length", "11")
			r.Header.Set("Content-Encoding", "aws-chunked")
			if b.trailer != "" {
				r.Header.Set("X-Amz-Trailer", b.trailer)
			}
			if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, r, b.sha, "s3", region, time.Now()); err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != b.status {
				text, _ := io.ReadAll(response.Body)
				t.Fatalf("status %d: %s", response.StatusCode, text)
			}
			if b.status == http.StatusOK {
				if got := get(t, c, "plain", "chunked", ""); got != "hello world" {
					t.Errorf("content = %q", got)
				}
			}
		})
	}
}

func TestMissingKey(t *testing.T) {
	_, c := server(t)
	if got := get(t, c, "plain", "none", ""); got != "NoSuchKey" {
		t.Errorf("with s3:ListBucket: %s", got)
	}
	_, c = server(t, "s3:ListBucket")
	if got := get(t, c, "plain", "none", ""); got != "AccessDenied" {
		t.Errorf("without s3:ListBucket: %s", got)
	}
	put(t, c, "plain", "some", "x")
	if got := get(t, c, "plain", "some", ""); got != "x" {
		t.Errorf("without s3:ListBucket, of a key that exists: %s", got)
	}
	_, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("plain"), Key: aws.String("none")})
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusForbidden {
		t.Errorf("HEAD without s3:ListBucket: %v", err)
	}
}

func TestDeleteObjectsAnswersPerKey(t *testing.T) {
	_, c := server(t, "s3:DeleteObjectVersion")
	version := put(t, c, "versioned", "a", "x")
	out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("versioned"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a"), VersionId: &version}, {Key: aws.String("b")},
	}}})
	if err != nil || len(out.Deleted) != 1 || len(out.Errors) != 1 || *out.Errors[0].Code != "AccessDenied" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestOtherRegionAndBucket(t *testing.T) {
	_, c := server(t)
	if got := get(t, c, "elsewhere", "a", ""); got != "AuthorizationHeaderMalformed" {
		t.Errorf("bucket of another Region: %s", got)
	}
	if got := get(t, c, "nowhere", "a", ""); got != "NoSuchBucket" {
		t.Errorf("no bucket: %s", got)
	}
	_, err := c.GetBucketLifecycleConfiguration(t.Context(), &s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String("plain")})
	if code(err) != "NotImplemented" {
		t.Errorf("an operation that is not played: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	for _, c := range []struct{ method, url, want string }{
		{"GET", "/", "s3:ListAllMyBuckets *"},
		{"GET", "/b?list-type=2&prefix=x/", "s3:ListBucket arn:aws:s3:::b"},
		{"GET", "/b?versions", "s3:ListBucketVersions arn:aws:s3:::b"},
		{"HEAD", "/b", "s3:ListBucket arn:aws:s3:::b"},
		{"GET", "/b/k/l", "s3:GetObject arn:aws:s3:::b/k/l"},
		{"GET", "/b/k?versionId=1", "s3:GetObjectVersion arn:aws:s3:::b/k"},
		{"HEAD", "/b/k", "s3:GetObject arn:aws:s3:::b/k"},
		{"PUT", "/b/k", "s3:PutObject arn:aws:s3:::b/k"},
		{"DELETE", "/b/k", "s3:DeleteObject arn:aws:s3:::b/k"},
		{"DELETE", "/b/k?versionId=1", "s3:DeleteObjectVersion arn:aws:s3:::b/k"},
		{"POST", "/b/k?uploads", "s3:PutObject arn:aws:s3:::b/k"},
		{"PUT", "/b/k?partNumber=1&uploadId=2", "s3:PutObject arn:aws:s3:::b/k"},
		{"DELETE", "/b/k?uploadId=2", "s3:AbortMultipartUpload arn:aws:s3:::b/k"},
		{"POST", "/b?delete", ""},
	} {
		var got []string
		for _, p := range Parse(httptest.NewRequest(c.method, c.url, nil)).Permissions() {
			got = append(got, p.Action+" "+p.Resource)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.url, got, c.want)
		}
	}
	p := Parse(httptest.NewRequest("GET", "/b?prefix=x/", nil)).Permissions()
	if p[0].Context["s3:prefix"] != "x/" {
		t.Errorf("context of a listing: %v", p[0].Context)
	}
}
