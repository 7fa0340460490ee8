// Package s3 is the testbed's S3: gofakes3, a third-party implementation of
// the protocol, with what it lacks or does differently made up for here:
//
//   - its in-memory backend forgets older versions when the current one is
//     deleted by id, and never says where the next page of versions begins, so
//     store is a backend of our own;
//   - it understands aws-chunked bodies with signatures only, not the trailing
//     checksums of today's SDKs, so bodies are decoded and checksums verified
//     before it sees them;
//   - it keeps every X-Amz- request header as metadata, session tokens
//     included, so those that are no metadata are taken away;
//   - it ignores versionId on HEAD;
//   - it knows no Regions and no permissions: a bucket answers in its own
//     Region only, and a missing key is a 403 to whoever may not list.
//
// Lifecycle rules, replication, ACLs, tags and object locks are not played; a
// call that needs them is refused as NotImplemented.
package s3
