package s3

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"

	"cognito-backup/test/localaws/wire"
)

// Service is S3 in all Regions: bucket names are global, a bucket lives in one
// Region.
type Service struct {
	store *store
	fake  http.Handler
}

// New makes a service without buckets.
func New(clock *wire.Clock) *Service {
	now := clockSource{clock}
	s := newStore(now.Now)
	fake := gofakes3.New(s, gofakes3.WithTimeSource(now), gofakes3.WithTimeSkewLimit(0), gofakes3.WithLogger(gofakes3.DiscardLog()))
	return &Service{store: s, fake: fake.Server()}
}

// CreateBucket adds a bucket; key is the ARN of its customer managed key, if it
// has one.
func (s *Service) CreateBucket(name, region, key string, versioned bool) error {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return fmt.Errorf("bucket name %q: %w", name, err)
	}
	return s.store.create(name, region, key, versioned)
}

// Keys lists the keys of a bucket that have any version, delete markers
// included, for tests of what was left behind.
func (s *Service) Keys(name string) []string {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	b := s.store.buckets[name]
	if b == nil {
		return nil
	}
	return slices.Clone(b.keys)
}

// Object is the current content of an object.
func (s *Service) Object(bucketName, key string) ([]byte, bool) {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	b := s.store.buckets[bucketName]
	if b == nil {
		return nil, false
	}
	v, err := b.find(key, "")
	if err != nil {
		return nil, false
	}
	return slices.Clone(v.body), true
}

// Request is one call, authenticated by the gateway.
type Request struct {
	Region    string
	Operation string // as the API reference calls it
	Bucket    string
	Key       string
	Version   gofakes3.VersionID
	// Allow decides on one permission of the caller.
	Allow func(wire.Permission) bool

	http *http.Request
}

// Parse recognizes the operation of a request.
func Parse(r *http.Request) *Request {
	bucketName, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	req := &Request{Bucket: bucketName, Key: key, Version: gofakes3.VersionID(q.Get("versionId")), http: r}
	if req.Version == "null" {
		req.Version = ""
	}
	req.Operation = operation(r, req, q)
	return req
}

// unplayed are subresources of operations that the testbed does not play.
var unplayed = []string{"acl", "tagging", "policy", "policyStatus", "lifecycle", "cors", "encryption", "notification", "replication", "website",
	"logging", "ownershipControls", "publicAccessBlock", "object-lock", "retention", "legal-hold", "torrent", "restore", "select", "attributes", "accelerate", "requestPayment", "inventory", "metrics", "analytics", "intelligent-tiering"}

// operation is the call's name in the API reference, "" for one not played.
func operation(r *http.Request, req *Request, q url.Values) string {
	for _, name := range unplayed {
		if q.Has(name) {
			return ""
		}
	}
	switch {
	case req.Bucket == "":
		return byMethod(r, "ListBuckets", "", "", "", "")
	case req.Key == "":
		switch {
		case q.Has("uploads"):
			return byMethod(r, "ListMultipartUploads", "", "", "", "")
		case q.Has("versions"):
			return byMethod(r, "ListObjectVersions", "", "", "", "")
		case q.Has("versioning"):
			return byMethod(r, "GetBucketVersioning", "", "PutBucketVersioning", "", "")
		case q.Has("location"):
			return byMethod(r, "GetBucketLocation", "", "", "", "")
		case q.Has("delete"):
			return byMethod(r, "", "", "", "DeleteObjects", "")
		case q.Get("list-type") == "2":
			return byMethod(r, "ListObjectsV2", "", "", "", "")
		}
		return byMethod(r, "ListObjects", "HeadBucket", "CreateBucket", "", "DeleteBucket")
	case q.Has("uploads"):
		return byMethod(r, "", "", "", "CreateMultipartUpload", "")
	case q.Has("uploadId"):
		return byMethod(r, "ListParts", "", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload")
	case r.Header.Get("X-Amz-Copy-Source") != "":
		return byMethod(r, "", "", "CopyObject", "", "")
	}
	return byMethod(r, "GetObject", "HeadObject", "PutObject", "", "DeleteObject")
}

func byMethod(r *http.Request, get, head, put, post, del string) string {
	return map[string]string{http.MethodGet: get, http.MethodHead: head, http.MethodPut: put, http.MethodPost: post, http.MethodDelete: del}[r.Method]
}

// Permissions lists what the call needs; DeleteObjects asks per key as it
// goes, since S3 answers per key.
func (req *Request) Permissions() []wire.Permission {
	bucketARN := "arn:aws:s3:::" + req.Bucket
	onBucket := func(action string) []wire.Permission {
		return []wire.Permission{{Action: "s3:" + action, Resource: bucketARN}}
	}
	onKey := func(action string) []wire.Permission {
		return []wire.Permission{{Action: "s3:" + action, Resource: bucketARN + "/" + req.Key}}
	}
	versioned := ""
	if req.http.URL.Query().Get("versionId") != "" {
		versioned = "Version"
	}
	switch req.Operation {
	case "ListBuckets":
		return []wire.Permission{{Action: "s3:ListAllMyBuckets", Resource: "*"}}
	case "ListObjects", "ListObjectsV2":
		return []wire.Permission{{Action: "s3:ListBucket", Resource: bucketARN, Context: req.listing()}}
	case "ListObjectVersions":
		return []wire.Permission{{Action: "s3:ListBucketVersions", Resource: bucketARN, Context: req.listing()}}
	case "HeadBucket":
		return onBucket("ListBucket")
	case "ListMultipartUploads":
		return onBucket("ListBucketMultipartUploads")
	case "GetBucketVersioning", "PutBucketVersioning", "GetBucketLocation", "CreateBucket", "DeleteBucket":
		return onBucket(req.Operation)
	case "GetObject", "HeadObject":
		return onKey("GetObject" + versioned)
	case "DeleteObject":
		return onKey("DeleteObject" + versioned)
	case "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
		return onKey("PutObject")
	case "CopyObject":
		source, _ := url.PathUnescape(strings.TrimPrefix(req.http.Header.Get("X-Amz-Copy-Source"), "/"))
		source, _, _ = strings.Cut(source, "?versionId=")
		return append(onKey("PutObject"), wire.Permission{Action: "s3:GetObject", Resource: "arn:aws:s3:::" + source})
	case "AbortMultipartUpload":
		return onKey("AbortMultipartUpload")
	case "ListParts":
		return onKey("ListMultipartUploadParts")
	}
	return nil
}

// KeyPermissions lists what the call needs of the bucket's key.
func (s *Service) KeyPermissions(req *Request) []wire.Permission {
	key := s.store.keyOf(req.Bucket)
	if key == "" {
		return nil
	}
	switch req.Operation {
	case "GetObject", "HeadObject":
		return []wire.Permission{{Action: "kms:Decrypt", Resource: key}}
	case "PutObject", "CreateMultipartUpload":
		return []wire.Permission{{Action: "kms:GenerateDataKey", Resource: key}}
	case "UploadPart", "CompleteMultipartUpload", "CopyObject":
		return []wire.Permission{{Action: "kms:GenerateDataKey", Resource: key}, {Action: "kms:Decrypt", Resource: key}}
	}
	return nil
}

// listing is the condition keys of a listing.
func (req *Request) listing() map[string]string {
	q := req.http.URL.Query()
	context := map[string]string{"s3:prefix": q.Get("prefix")}
	if q.Has("delimiter") {
		context["s3:delimiter"] = q.Get("delimiter")
	}
	if q.Has("max-keys") {
		context["s3:max-keys"] = q.Get("max-keys")
	}
	return context
}

// refusal is an error answer.
type refusal struct {
	status        int
	code, message string
}

// WriteError answers with an S3 error document.
func WriteError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	io.WriteString(w, xml.Header)
	xml.NewEncoder(w).Encode(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, Resource: r.URL.Path, RequestID: w.Header().Get("X-Amz-Request-Id")})
}

// notMetadata are request headers that gofakes3 would keep with the object.
var notMetadata = []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Decoded-Content-Length",
	"X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Checksum-Mode", "X-Amz-Checksum-Algorithm", "X-Amz-User-Agent", "X-Amz-Acl", "X-Amz-Expected-Bucket-Owner", "Amz-Sdk-Request", "Amz-Sdk-Invocation-Id"}

// ServeHTTP carries the call out. Its permissions have been checked.
func (s *Service) ServeHTTP(w http.ResponseWriter, req *Request) {
	r := req.http
	switch req.Operation {
	case "":
		WriteError(w, r, http.StatusNotImplemented, "NotImplemented", "The testbed does not play this S3 operation: "+r.Method+" "+r.URL.RequestURI())
		return
	case "CreateBucket":
		WriteError(w, r, http.StatusNotImplemented, "NotImplemented", "The testbed makes buckets from templates only.")
		return
	}
	if req.Bucket != "" {
		if region, ok := s.store.regionOf(req.Bucket); !ok {
			WriteError(w, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
			return
		} else if region != req.Region {
			w.Header().Set("X-Amz-Bucket-Region", region)
			WriteError(w, r, http.StatusBadRequest, "AuthorizationHeaderMalformed",
				fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", req.Region, region))
			return
		}
	}
	body, refused := readBody(r)
	if refused != nil {
		WriteError(w, r, refused.status, refused.code, refused.message)
		return
	}
	r = r.Clone(r.Context())
	for _, name := range notMetadata {
		r.Header.Del(name)
	}
	if encoding := r.Header.Get("Content-Encoding"); strings.HasPrefix(encoding, "aws-chunked") {
		r.Header.Del("Content-Encoding")
		if rest := strings.TrimLeft(strings.TrimPrefix(encoding, "aws-chunked"), ", "); rest != "" {
			r.Header.Set("Content-Encoding", rest)
		}
	}
	switch req.Operation {
	case "GetObject", "HeadObject":
		bucketARN := "arn:aws:s3:::" + req.Bucket
		if !s.store.exists(req.Bucket, req.Key, req.Version) && !req.Allow(wire.Permission{Action: "s3:ListBucket", Resource: bucketARN}) {
			WriteError(w, r, http.StatusForbidden, "AccessDenied", "Access Denied") // whoever may not list learns nothing of missing keys
			return
		}
		if r.Header.Get("Range") != "" || req.http.Header.Get("X-Amz-Checksum-Mode") == "" {
			w = &withoutChecksums{ResponseWriter: w}
		}
		if req.Operation == "HeadObject" && req.Version != "" {
			r.Method = http.MethodGet // gofakes3 ignores the version of a HEAD
			w = &headOnly{ResponseWriter: w}
		}
	case "DeleteObjects":
		s.deleteObjects(w, r, req, body)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if req.Operation == "UploadPart" && len(body) == 0 {
		WriteError(w, r, http.StatusNotImplemented, "NotImplemented", "The testbed takes no empty parts.") // nor does gofakes3, which says it in a confusing way
		return
	}
	s.fake.ServeHTTP(w, r)
}

// deleteObjects answers per key, since permissions differ per key.
func (s *Service) deleteObjects(w http.ResponseWriter, r *http.Request, req *Request, body []byte) {
	var in gofakes3.DeleteRequest
	if err := xml.Unmarshal(body, &in); err != nil || len(in.Objects) == 0 || len(in.Objects) > 1000 {
		WriteError(w, r, http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		return
	}
	type failed struct{ Key, VersionId, Code, Message string }
	type deleted struct {
		Key                   string
		VersionId             string `xml:",omitempty"`
		DeleteMarker          bool   `xml:",omitempty"`
		DeleteMarkerVersionId string `xml:",omitempty"`
	}
	var out struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deleted
		Error   []failed
	}
	for _, o := range in.Objects {
		action := "s3:DeleteObject"
		if o.VersionID != "" {
			action = "s3:DeleteObjectVersion"
		}
		if !req.Allow(wire.Permission{Action: action, Resource: "arn:aws:s3:::" + req.Bucket + "/" + o.Key}) {
			out.Error = append(out.Error, failed{o.Key, o.VersionID, "AccessDenied", "Access Denied"})
			continue
		}
		result, err := s.store.delete(req.Bucket, o.Key, gofakes3.VersionID(o.VersionID))
		if err != nil {
			out.Error = append(out.Error, failed{o.Key, o.VersionID, "InternalError", err.Error()})
			continue
		}
		if !in.Quiet {
			d := deleted{Key: o.Key, VersionId: o.VersionID, DeleteMarker: result.IsDeleteMarker}
			if result.IsDeleteMarker {
				d.DeleteMarkerVersionId = string(result.VersionID)
			}
			out.Deleted = append(out.Deleted, d)
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	io.WriteString(w, xml.Header)
	xml.NewEncoder(w).Encode(out)
}

// withoutChecksums hides the checksums of the whole object from a reader of a
// part of it, or from one that did not ask.
type withoutChecksums struct{ http.ResponseWriter }

func (w *withoutChecksums) WriteHeader(status int) {
	w.strip()
	w.ResponseWriter.WriteHeader(status)
}

func (w *withoutChecksums) Write(b []byte) (int, error) {
	w.strip()
	return w.ResponseWriter.Write(b)
}

func (w *withoutChecksums) strip() {
	for name := range checksums {
		w.Header().Del("X-Amz-Checksum-" + name)
	}
}

// headOnly drops the body.
type headOnly struct{ http.ResponseWriter }

func (w *headOnly) Write(b []byte) (int, error) { return len(b), nil }

// clockSource lets gofakes3 read the testbed's clock.
type clockSource struct{ clock *wire.Clock }

func (c clockSource) Now() time.Time                  { return c.clock.Now() }
func (c clockSource) Since(t time.Time) time.Duration { return c.clock.Now().Sub(t) }
