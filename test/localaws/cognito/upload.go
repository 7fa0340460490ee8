package cognito

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// uploadPath is where presigned addresses of import files lead.
const uploadPath = "/_cognito-import/"

// SecurityToken is the query parameter of an upload address that says whom it was
// given to, by session token.
const SecurityToken = "X-Amz-Security-Token"

// UploadRegion is the Region of an upload address, "" for any other path.
func UploadRegion(path string) string {
	rest, ok := strings.CutPrefix(path, uploadPath)
	if !ok {
		return ""
	}
	region, _, _ := strings.Cut(rest, "/")
	return region
}

// ServeUpload takes the file of an import job, as S3 does behind the presigned
// address: a length is required, the encryption header is part of the signature,
// and after 15 minutes the address is worth nothing.
func (s *Service) ServeUpload(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, message string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
	// path: /_cognito-import/<Region>/<pool>/<job>
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, uploadPath), "/")
	var p *pool
	if len(parts) == 3 && parts[0] == s.region {
		p, _ = s.pool(parts[1])
	}
	if p == nil {
		refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
		return
	}
	p.mu.Lock()
	j, err := s.job(p, parts[2])
	var created time.Time
	var signature, status string
	if err == nil {
		created, signature, status = j.CreationDate.Time, j.signature, j.Status
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
		return
	case r.Method != http.MethodPut, r.URL.Query().Get("X-Amz-Signature") != signature:
		refuse(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
		return
	case s.now().Sub(created) > uploadLife:
		refuse(http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	case r.Header.Get("x-amz-server-side-encryption") != "aws:kms":
		refuse(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
		return
	case len(r.TransferEncoding) > 0:
		refuse(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented")
		return
	case r.ContentLength < 0:
		refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxImportSize+1))
	if err != nil {
		refuse(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if status == jobCreated && j.Status == jobCreated { // a running job reads the file it was started with
		j.file, j.uploaded = body, true
	}
	w.WriteHeader(http.StatusOK)
}
