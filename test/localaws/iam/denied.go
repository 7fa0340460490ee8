package iam

import (
	"fmt"
	"net/http"
	"strings"

	"cognito-backup/test/localaws/wire"
)

// Message is AWS's message for a denial: "User: arn:aws:sts::…:assumed-role/…
// is not authorized to perform: … on resource: … because …".
func Message(p wire.Principal, action, resource string, d Decision) string {
	if strings.HasPrefix(action, "s3:") {
		resource = `"` + resource + `"` // S3 quotes it, the others do not
	}
	return fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", SessionARN(p), spelled(action), resource, d.Reason)
}

// SessionARN is what AWS calls a role that somebody has assumed. Lambda names
// the session after the function.
func SessionARN(p wire.Principal) string {
	if p.Role == "" {
		return "arn:aws:iam::" + wire.Account + ":root"
	}
	session := p.Name
	if session == "" {
		session = "session"
	}
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", accountOf(p.Role), p.Role[strings.LastIndex(p.Role, "/")+1:], session)
}

// spelled is an action as messages spell it: SQS in lower case, SNS with its
// name in capitals.
func spelled(action string) string {
	service, name, _ := strings.Cut(action, ":")
	switch service {
	case "sqs":
		return strings.ToLower(action)
	case "sns":
		return "SNS:" + name
	}
	return action
}

// Denied is what a service (by signing name) answers to a denied call, with
// its own code and status. The action may belong to another service, such as
// iam:PassRole or kms:Decrypt.
func Denied(service string, p wire.Principal, action, resource string, d Decision) *wire.Error {
	e := &wire.Error{Code: "AccessDeniedException", Message: Message(p, action, resource, d), Status: http.StatusBadRequest}
	switch service {
	case "s3":
		e.Code, e.Status = "AccessDenied", http.StatusForbidden
	case "sns":
		e.Code, e.Status = "AuthorizationErrorException", http.StatusForbidden
		if strings.HasPrefix(action, "kms:") {
			e.Code, e.Status = "KMSAccessDeniedException", http.StatusBadRequest
		}
	case "sqs":
		e.Status = http.StatusForbidden
		if strings.HasPrefix(action, "kms:") {
			e.Code, e.Status = "KmsAccessDenied", http.StatusBadRequest
		}
	case "lambda", "scheduler", "events":
		e.Status = http.StatusForbidden
	}
	return e
}
