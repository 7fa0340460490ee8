// Package restore holds the steps of the ImportWorkflow: what was lost from a
// user pool comes back from a restore point of the backup table.
//
// A restore creates and adds; it never changes or removes what the target has.
// It ends with a proof: every record of the restore point is accounted for by
// listing the target with the code that exports.
//
// What comes back differs from what was lost, because Cognito allows no other:
// every user gets a new sub and nobody keeps a password. Users of a CSV import
// and users with a verified address choose a new password through "forgot
// password"; the others need an invitation. Federated users are created by
// Cognito when they next sign in. Authenticator apps, passkeys and remembered
// devices must be set up again.
//
// The order of things:
//
//	CheckNewUserPool  every finding at once, nothing written          preflight.go
//	ScanTable         the restore point frozen into chunks in S3      freeze.go
//	ImportUsers       chunks → CSV import jobs, AdminCreateUser       importusers.go
//	UpdateUsers       memberships, disabled flags, links              updateusers.go
//	VerifyImport      target listed and compared, report, mapping     verify.go
//
// S3 objects are the account of what is done; queue messages only say that
// there is something to do. So a message may be lost, doubled or late.
package restore
