// Package dynamodb puts dynalite, a third-party implementation of DynamoDB on
// npm, behind the testbed's gateway: one dynalite process per Region, in
// memory. On the way through it tells which permissions a call needs, counts
// operations and written items, returns part of a batch unprocessed on demand,
// and feeds the Replicator, which copies every change of a global table to its
// replicas.
//
// dynalite has no transactions and no global tables; the latter are what the
// Replicator is for.
package dynamodb
