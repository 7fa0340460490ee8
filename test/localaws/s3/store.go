package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// store keeps buckets in memory, with versions as S3 keeps them.
type store struct {
	now func() time.Time

	mu      sync.RWMutex
	buckets map[string]*bucket
}

var (
	_ gofakes3.Backend          = (*store)(nil)
	_ gofakes3.VersionedBackend = (*store)(nil)
)

type bucket struct {
	name       string
	region     string
	key        string // ARN of the customer managed key, "" for S3's own
	created    time.Time
	versioning gofakes3.VersioningStatus
	keys       []string              // sorted
	objects    map[string][]*version // newest first, never empty
}

// version is one version of an object; its content never changes.
type version struct {
	id       gofakes3.VersionID // "" is the null version
	key      string
	body     []byte
	hash     []byte
	metadata map[string]string
	modified time.Time
	marker   bool // delete marker
}

func newStore(now func() time.Time) *store {
	return &store{now: now, buckets: map[string]*bucket{}}
}

func (s *store) create(name, region, key string, versioned bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	b := &bucket{name: name, region: region, key: key, created: s.now(), objects: map[string][]*version{}}
	if versioned {
		b.versioning = gofakes3.VersioningEnabled
	}
	s.buckets[name] = b
	return nil
}

func (s *store) regionOf(name string) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[name]
	if b == nil {
		return "", false
	}
	return b.region, true
}

func (s *store) keyOf(name string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if b := s.buckets[name]; b != nil {
		return b.key
	}
	return ""
}

// exists reports whether a version ("" for the current one) can be read.
func (s *store) exists(bucketName, key string, id gofakes3.VersionID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[bucketName]
	if b == nil {
		return false
	}
	_, err := b.find(key, id)
	return err == nil
}

// find returns a version; "" is the current one, which must not be a marker.
func (b *bucket) find(key string, id gofakes3.VersionID) (*version, error) {
	versions := b.objects[key]
	if id == "" {
		if len(versions) == 0 || versions[0].marker {
			return nil, gofakes3.KeyNotFound(key)
		}
		return versions[0], nil
	}
	for _, v := range versions {
		if v.id == id {
			return v, nil
		}
	}
	return nil, gofakes3.ErrNoSuchVersion
}

// put makes v the current version.
func (b *bucket) put(v *version) {
	versions := b.objects[v.key]
	if len(versions) == 0 {
		i, _ := slices.BinarySearch(b.keys, v.key)
		b.keys = slices.Insert(b.keys, i, v.key)
	}
	if b.versioning == gofakes3.VersioningEnabled {
		v.id = newVersionID()
	} else {
		versions = slices.DeleteFunc(versions, func(old *version) bool { return old.id == "" })
	}
	b.objects[v.key] = slices.Insert(versions, 0, v)
}

// drop removes a version for good.
func (b *bucket) drop(key string, id gofakes3.VersionID) (dropped *version) {
	versions := b.objects[key]
	for i, v := range versions {
		if v.id == id {
			dropped = v
			versions = slices.Delete(versions, i, i+1)
			break
		}
	}
	if len(versions) == 0 {
		delete(b.objects, key)
		if i, found := slices.BinarySearch(b.keys, key); found {
			b.keys = slices.Delete(b.keys, i, i+1)
		}
		return dropped
	}
	b.objects[key] = versions
	return dropped
}

func newVersionID() gofakes3.VersionID {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return gofakes3.VersionID(hex.EncodeToString(b))
}

func (s *store) bucket(name string) (*bucket, error) {
	b := s.buckets[name]
	if b == nil {
		return nil, gofakes3.BucketNotFound(name)
	}
	return b, nil
}

// ListBuckets implements gofakes3.Backend.
func (s *store) ListBuckets() ([]gofakes3.BucketInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []gofakes3.BucketInfo
	for _, b := range s.buckets {
		list = append(list, gofakes3.BucketInfo{Name: b.name, CreationDate: gofakes3.NewContentTime(b.created)})
	}
	slices.SortFunc(list, func(a, b gofakes3.BucketInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// ListBucket implements gofakes3.Backend.
func (s *store) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	list := gofakes3.NewObjectList()
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	limit := page.MaxKeys
	if limit <= 0 {
		limit = gofakes3.DefaultMaxBucketKeys
	}
	last := ""
	var count int64
	for i := b.first(max(page.Marker, prefix.Prefix)); i < len(b.keys); i++ {
		key := b.keys[i]
		if !strings.HasPrefix(key, prefix.Prefix) {
			break
		}
		if b.objects[key][0].marker || (page.Marker != "" && key <= page.Marker) {
			continue
		}
		folder := folderOf(key, prefix)
		if folder != "" && (folder == last || (page.Marker != "" && folder <= page.Marker)) {
			continue // counted on this page or the one before
		}
		if count == limit {
			list.IsTruncated, list.NextMarker = true, last
			break
		}
		count++
		if folder != "" {
			list.AddPrefix(folder)
			last = folder
			continue
		}
		last = key
		v := b.objects[key][0]
		list.Add(&gofakes3.Content{
			Key: key, LastModified: gofakes3.NewContentTime(v.modified), ETag: gofakes3.FormatETag(v.hash),
			Size: int64(len(v.body)), StorageClass: gofakes3.StorageStandard,
		})
	}
	return list, nil
}

// first is the index of the first key at or after the given one.
func (b *bucket) first(key string) int {
	i, _ := slices.BinarySearch(b.keys, key)
	return i
}

// folderOf is the common prefix that a key is rolled up into, "" for none.
func folderOf(key string, prefix *gofakes3.Prefix) string {
	if prefix.Delimiter == "" {
		return ""
	}
	rest := key[len(prefix.Prefix):]
	if i := strings.Index(rest, prefix.Delimiter); i >= 0 {
		return prefix.Prefix + rest[:i+len(prefix.Delimiter)]
	}
	return ""
}

// ListBucketVersions implements gofakes3.VersionedBackend.
func (s *store) ListBucketVersions(name string, prefix *gofakes3.Prefix, page *gofakes3.ListBucketVersionsPage) (*gofakes3.ListBucketVersionsResult, error) {
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	if page == nil {
		page = &gofakes3.ListBucketVersionsPage{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	result := gofakes3.NewListBucketVersionsResult(name, prefix, page)
	b, err := s.bucket(name)
	if err != nil {
		return result, err
	}
	limit := page.MaxKeys
	if limit <= 0 {
		limit = gofakes3.DefaultBucketVersionKeys
	}
	lastKey, lastID := "", gofakes3.VersionID("")
	var count int64
	for i := b.first(max(page.KeyMarker, prefix.Prefix)); i < len(b.keys); i++ {
		key := b.keys[i]
		if !strings.HasPrefix(key, prefix.Prefix) {
			break
		}
		if page.KeyMarker != "" && (key < page.KeyMarker || (key == page.KeyMarker && !page.HasVersionIDMarker)) {
			continue
		}
		if folder := folderOf(key, prefix); folder != "" {
			if folder == lastKey || (page.KeyMarker != "" && folder <= page.KeyMarker) {
				continue
			}
			if count == limit {
				result.IsTruncated, result.NextKeyMarker, result.NextVersionIDMarker = true, lastKey, lastID
				return result, nil
			}
			result.AddPrefix(folder)
			lastKey, lastID = folder, ""
			count++
			continue
		}
		versions := b.objects[key]
		if key == page.KeyMarker { // the marker names the last version of the page before
			j := slices.IndexFunc(versions, func(v *version) bool {
				return v.id == page.VersionIDMarker || (v.id == "" && page.VersionIDMarker == "null")
			})
			versions = versions[j+1:] // all of them when the version is gone
		}
		for _, v := range versions {
			if count == limit {
				result.IsTruncated, result.NextKeyMarker, result.NextVersionIDMarker = true, lastKey, lastID
				return result, nil
			}
			latest := v == b.objects[key][0]
			modified := gofakes3.NewContentTime(v.modified)
			if v.marker {
				result.Versions = append(result.Versions, &gofakes3.DeleteMarker{Key: key, VersionID: v.id, IsLatest: latest, LastModified: modified})
			} else {
				result.Versions = append(result.Versions, &gofakes3.Version{
					Key: key, VersionID: v.id, IsLatest: latest, LastModified: modified, Size: int64(len(v.body)),
					ETag: gofakes3.FormatETag(v.hash), StorageClass: gofakes3.StorageStandard,
				})
			}
			lastKey, lastID = key, v.id
			if lastID == "" {
				lastID = "null"
			}
			count++
		}
	}
	return result, nil
}

// CreateBucket implements gofakes3.Backend; buckets come from templates only.
func (s *store) CreateBucket(string) error { return gofakes3.ErrNotImplemented }

// BucketExists implements gofakes3.Backend.
func (s *store) BucketExists(name string) (bool, error) {
	_, ok := s.regionOf(name)
	return ok, nil
}

// DeleteBucket implements gofakes3.Backend.
func (s *store) DeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	if len(b.keys) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	delete(s.buckets, name)
	return nil
}

// ForceDeleteBucket implements gofakes3.Backend.
func (s *store) ForceDeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets, name)
	return nil
}

// GetObject implements gofakes3.Backend.
func (s *store) GetObject(name, key string, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return s.GetObjectVersion(name, key, "", r)
}

// HeadObject implements gofakes3.Backend.
func (s *store) HeadObject(name, key string) (*gofakes3.Object, error) {
	return s.HeadObjectVersion(name, key, "")
}

// GetObjectVersion implements gofakes3.VersionedBackend.
func (s *store) GetObjectVersion(name, key string, id gofakes3.VersionID, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return s.read(name, key, id, func(v *version) (io.ReadCloser, *gofakes3.ObjectRange, error) {
		span, err := r.Range(int64(len(v.body)))
		if err != nil {
			return nil, nil, err
		}
		body := v.body
		if span != nil {
			body = body[span.Start : span.Start+span.Length]
		}
		return io.NopCloser(bytes.NewReader(body)), span, nil
	})
}

// HeadObjectVersion implements gofakes3.VersionedBackend.
func (s *store) HeadObjectVersion(name, key string, id gofakes3.VersionID) (*gofakes3.Object, error) {
	return s.read(name, key, id, func(*version) (io.ReadCloser, *gofakes3.ObjectRange, error) {
		return io.NopCloser(bytes.NewReader(nil)), nil, nil
	})
}

func (s *store) read(name, key string, id gofakes3.VersionID, content func(*version) (io.ReadCloser, *gofakes3.ObjectRange, error)) (*gofakes3.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	v, err := b.find(key, id)
	if err != nil {
		return nil, err
	}
	body, span, err := content(v)
	if err != nil {
		return nil, err
	}
	return &gofakes3.Object{
		Name: key, Metadata: v.metadata, Size: int64(len(v.body)), Contents: body, Hash: v.hash, Range: span,
		VersionID: v.id, IsDeleteMarker: v.marker,
	}, nil
}

// PutObject implements gofakes3.Backend.
func (s *store) PutObject(name, key string, metadata map[string]string, input io.Reader, size int64, conditions *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	body, err := gofakes3.ReadAll(input, size)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	hash := md5.Sum(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	if conditions != nil {
		present := &gofakes3.ConditionalObjectInfo{}
		if v, err := b.find(key, ""); err == nil {
			present.Exists, present.Hash = true, v.hash
		}
		if err := gofakes3.CheckPutConditions(conditions, present); err != nil {
			return gofakes3.PutObjectResult{}, err
		}
	}
	v := &version{key: key, body: body, hash: hash[:], metadata: metadata, modified: s.now()}
	b.put(v)
	return gofakes3.PutObjectResult{VersionID: v.id}, nil
}

// CopyObject implements gofakes3.Backend.
func (s *store) CopyObject(srcBucket, srcKey, dstBucket, dstKey string, metadata map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(s, srcBucket, srcKey, dstBucket, dstKey, metadata)
}

// DeleteObject implements gofakes3.Backend.
func (s *store) DeleteObject(name, key string) (gofakes3.ObjectDeleteResult, error) {
	return s.delete(name, key, "")
}

// DeleteObjectVersion implements gofakes3.VersionedBackend.
func (s *store) DeleteObjectVersion(name, key string, id gofakes3.VersionID) (gofakes3.ObjectDeleteResult, error) {
	return s.delete(name, key, id)
}

func (s *store) delete(name, key string, id gofakes3.VersionID) (gofakes3.ObjectDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	if id == "" && b.versioning == gofakes3.VersioningEnabled {
		v := &version{key: key, marker: true, modified: s.now()}
		b.put(v)
		return gofakes3.ObjectDeleteResult{IsDeleteMarker: true, VersionID: v.id}, nil
	}
	if id == "null" {
		id = ""
	}
	if v := b.drop(key, id); v != nil {
		return gofakes3.ObjectDeleteResult{IsDeleteMarker: v.marker, VersionID: v.id}, nil
	}
	return gofakes3.ObjectDeleteResult{}, nil // deleting what is not there succeeds
}

// DeleteMulti implements gofakes3.Backend.
func (s *store) DeleteMulti(name string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var ids []gofakes3.ObjectID
	for _, key := range keys {
		ids = append(ids, gofakes3.ObjectID{Key: key})
	}
	return s.DeleteMultiVersions(name, ids...)
}

// DeleteMultiVersions implements gofakes3.VersionedBackend.
func (s *store) DeleteMultiVersions(name string, objects ...gofakes3.ObjectID) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	for _, o := range objects {
		if _, err := s.delete(name, o.Key, gofakes3.VersionID(o.VersionID)); err != nil {
			return result, err
		}
		result.Deleted = append(result.Deleted, o)
	}
	return result, nil
}

// VersioningConfiguration implements gofakes3.VersionedBackend.
func (s *store) VersioningConfiguration(name string) (gofakes3.VersioningConfiguration, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return gofakes3.VersioningConfiguration{}, err
	}
	return gofakes3.VersioningConfiguration{Status: b.versioning}, nil
}

// SetVersioningConfiguration implements gofakes3.VersionedBackend.
func (s *store) SetVersioningConfiguration(name string, v gofakes3.VersioningConfiguration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	b.versioning = v.Status
	return nil
}
