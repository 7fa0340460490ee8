package localaws

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/dynamodb"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/iam"
	"cognito-backup/test/localaws/model"
	"cognito-backup/test/localaws/s3"
	"cognito-backup/test/localaws/wire"
)

// UploadOperation is what fault rules and the request log call the upload of an
// import file to S3: a PutObject, but not to a bucket of the account.
const UploadOperation = "PutImportFile"

const maxBody = 16 << 20 // bytes of a request, other than to S3; DynamoDB's limit is the largest

// caller is what a signature tells.
type caller struct {
	accessKey string
	token     string // session token
	region    string
	service   string // signing name
	principal wire.Principal
}

var credential = regexp.MustCompile(`Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request`)

// authenticate reads the credential scope of a signed or presigned request.
func (b *Bed) authenticate(r *http.Request) (caller, *wire.Error) {
	var c caller
	query := r.URL.Query()
	if m := credential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		c = caller{accessKey: m[1], region: m[2], service: m[3], token: r.Header.Get("X-Amz-Security-Token")}
	} else if m := credential.FindStringSubmatch("Credential=" + query.Get("X-Amz-Credential")); m != nil {
		c = caller{accessKey: m[1], region: m[2], service: m[3], token: query.Get("X-Amz-Security-Token")}
		signed, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
		seconds, _ := strconv.Atoi(query.Get("X-Amz-Expires"))
		if err != nil || b.clock.Now().After(signed.Add(time.Duration(seconds)*time.Second)) {
			return c, &wire.Error{Code: "AccessDenied", Message: "Request has expired", Status: http.StatusForbidden}
		}
	} else {
		return c, &wire.Error{Code: "MissingAuthenticationTokenException", Message: "Missing Authentication Token: sign the request, with any access key", Status: http.StatusForbidden}
	}
	c.principal, _ = b.lambda.Principal(c.accessKey) // anybody else is the administrator
	return c, nil
}

// ServeHTTP is the gateway.
func (b *Bed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{bed: b, w: w, r: r, id: newRequestID(), began: time.Now()}
	w.Header().Set("X-Amzn-Requestid", x.id)
	if strings.HasPrefix(r.URL.Path, importPath) {
		x.serveImport()
		return
	}
	var refused *wire.Error
	if x.caller, refused = b.authenticate(r); refused != nil {
		if !x.unsigned() {
			x.writeError(refused)
			return
		}
	}
	if b.regionDown(x.caller.region) {
		b.cut(x)
		x.drop()
		return
	}
	b.regional(x.caller.region) // a Region begins to exist when somebody asks for it
	switch x.caller.service {
	case "s3":
		x.serveS3()
	case "lambda":
		x.serveLambda()
	case "sts":
		x.serveSTS()
	default:
		x.serveModelled()
	}
}

// unsignedOperations need no signature and name the app client instead.
var unsignedOperations = map[string]bool{"ConfirmSignUp": true, "SignUp": true}

// unsigned recognizes what an app's users call without credentials, and finds
// the Region by the app client.
func (x *exchange) unsigned() bool {
	m := model.ByTarget(x.r.Header.Get("X-Amz-Target"))
	_, operation, _ := strings.Cut(x.r.Header.Get("X-Amz-Target"), ".")
	if m == nil || m.SigningName != "cognito-idp" || !unsignedOperations[operation] {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody))
	if err != nil {
		return false
	}
	x.r.Body = io.NopCloser(bytes.NewReader(body))
	var input struct{ ClientId string }
	if json.Unmarshal(body, &input) != nil || input.ClientId == "" {
		return false
	}
	for _, name := range x.bed.Regions() {
		if x.bed.regional(name).cognito.HasClient(input.ClientId) {
			x.caller = caller{region: name, service: "cognito-idp", principal: wire.Principal{}}
			return true
		}
	}
	return false
}

// exchange is one request on its way through the gateway.
type exchange struct {
	bed       *Bed
	w         http.ResponseWriter
	r         *http.Request
	id        string
	began     time.Time
	caller    caller
	operation string
	model     *model.Model // nil for services without
}

// serveModelled serves the services whose calls are JSON for a wire.Service:
// those with a model, and DynamoDB, which checks its input itself.
func (x *exchange) serveModelled() {
	service := x.bed.service(x.caller.region, x.caller.service)
	if service == nil {
		x.model = model.For(x.caller.service)
		x.writeError(&wire.Error{Code: "UnknownOperationException", Status: http.StatusNotFound,
			Message: fmt.Sprintf("The testbed does not play the service %s", x.caller.service)})
		return
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody+1))
	if err != nil {
		return // the client hung up
	}
	if len(body) > maxBody {
		x.writeError(&wire.Error{Code: "RequestEntityTooLargeException", Message: "Request body is too large", Status: http.StatusRequestEntityTooLarge})
		return
	}
	var input json.RawMessage
	if x.model = model.For(x.caller.service); x.model != nil {
		x.operation, input, err = x.model.ParseRequest(x.r, body)
		if err == nil {
			err = x.model.ValidateRequest(x.operation, input)
		}
		if err != nil {
			x.writeError(err)
			return
		}
		if unknown := x.model.UnknownMembers(x.operation, input); len(unknown) > 0 {
			x.bed.violation("%s of %s was sent members that its API does not have: %s", x.operation, x.caller.service, strings.Join(unknown, ", "))
		}
	} else {
		_, x.operation, _ = strings.Cut(x.r.Header.Get("X-Amz-Target"), ".")
		input = body
	}
	call := &wire.Call{Service: x.caller.service, Operation: x.operation, Region: x.caller.region, Principal: x.caller.principal, Session: x.caller.token, Input: input, Endpoint: x.bed.Endpoint()}
	if err := x.authorize(service.Permissions(call)); err != nil {
		x.writeError(err)
		return
	}
	fault, goOn := x.fault()
	if !goOn {
		return
	}
	output, err := service.Handle(faults.With(x.r.Context(), fault), call)
	x.bed.acted(x)
	if fault.Kind == faults.DropAfter {
		x.drop()
		return
	}
	if err != nil {
		x.writeError(err)
		return
	}
	x.writeOutput(output)
}

// authorize checks every permission that a call needs.
func (x *exchange) authorize(needed []wire.Permission) error {
	for _, p := range needed {
		if strings.HasPrefix(p.Action, "kms:") {
			p.Context = x.viaService(p.Context)
		}
		d := x.bed.iam.Allowed(x.caller.principal.Role, p.Action, p.Resource, p.Context)
		if !d.Allowed {
			return iam.Denied(x.caller.service, x.caller.principal, p.Action, p.Resource, d)
		}
	}
	return nil
}

// viaService adds what a service tells KMS when it uses a key for its caller.
func (x *exchange) viaService(context map[string]string) map[string]string {
	all := map[string]string{
		"kms:ViaService":    fmt.Sprintf("%s.%s.amazonaws.com", x.caller.service, x.caller.region),
		"kms:CallerAccount": wire.Account,
	}
	for key, value := range context {
		all[key] = value
	}
	return all
}

// fault lets the call run into what the fault rules have for it. It reports
// whether the service is to act.
func (x *exchange) fault() (faults.Fault, bool) {
	f := x.bed.faults.For(faults.Call{Service: x.caller.service, Operation: x.operation, Region: x.caller.region, Function: x.caller.principal.Name})
	_ = pause(x.r.Context(), f.Delay) // a client that hung up may still have its call carried out
	switch f.Kind {
	case faults.Throttle:
		x.writeError(throttled(x.caller.service))
	case faults.ServerError:
		x.writeError(serverError(x.caller.service))
	case faults.Fail:
		x.writeError(&wire.Error{Code: f.Code, Message: "Injected by the testbed", Status: f.Status})
	case faults.DropBefore:
		x.drop()
	default:
		return f, true
	}
	return f, false
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// throttled is how each service says that there were too many requests.
func throttled(service string) *wire.Error {
	switch service {
	case "cognito-idp":
		return &wire.Error{Code: "TooManyRequestsException", Message: "Rate exceeded", Status: http.StatusBadRequest}
	case "dynamodb":
		return &wire.Error{Code: "ProvisionedThroughputExceededException", Status: http.StatusBadRequest,
			Message: "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API."}
	case "s3":
		return &wire.Error{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable}
	case "sqs":
		return &wire.Error{Code: "RequestThrottled", Message: "Request is throttled.", Status: http.StatusBadRequest}
	case "sns":
		return &wire.Error{Code: "ThrottledException", Message: "Rate exceeded", Status: http.StatusTooManyRequests}
	case "lambda":
		return &wire.Error{Code: "TooManyRequestsException", Message: "Rate Exceeded.", Status: http.StatusTooManyRequests}
	}
	return &wire.Error{Code: "ThrottlingException", Message: "Rate exceeded", Status: http.StatusBadRequest}
}

// serverError is how each service says that it failed.
func serverError(service string) *wire.Error {
	e := &wire.Error{Code: "InternalFailure", Message: "We encountered an internal error. Please try again.", Status: http.StatusInternalServerError}
	switch service {
	case "cognito-idp":
		e.Code = "InternalErrorException"
	case "dynamodb":
		e.Code = "InternalServerError"
	case "s3":
		e.Code = "InternalError"
	case "sns":
		e.Code = "InternalErrorException"
	case "lambda":
		e.Code = "ServiceException"
	case "scheduler":
		e.Code = "InternalServerException"
	}
	return e
}

// drop breaks the connection without an answer.
func (x *exchange) drop() {
	x.bed.log(x, 0, "connection dropped")
	panic(http.ErrAbortHandler)
}

// writeOutput sends a service's output. One that the API model does not allow
// is a fault of the testbed, to be found in Violations.
func (x *exchange) writeOutput(output any) {
	document, err := json.Marshal(output)
	if err != nil {
		x.writeError(fmt.Errorf("answer of %s: %w", x.operation, err))
		return
	}
	if x.model != nil {
		if err := x.model.ValidateResponse(x.operation, document); err != nil {
			x.bed.violation("%s", err)
		}
	}
	x.bed.log(x, http.StatusOK, "")
	if x.model != nil {
		x.model.WriteResponse(x.w, x.operation, document, x.id)
		return
	}
	x.writeJSON(http.StatusOK, document)
}

// writeJSON is the wire protocol of DynamoDB.
func (x *exchange) writeJSON(status int, document []byte) {
	h := x.w.Header()
	h.Set("Content-Type", "application/x-amz-json-1.0")
	h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(document)), 10))
	h.Set("Content-Length", strconv.Itoa(len(document)))
	x.w.WriteHeader(status)
	x.w.Write(document) // a client that hung up is no concern of the server's
}

// writeError sends an error in the service's protocol.
func (x *exchange) writeError(err error) {
	var refused *dynamodb.Refusal
	if errors.As(err, &refused) {
		x.bed.log(x, refused.Status, refused.Code)
		document, _ := json.Marshal(refused.Document) // decoded JSON always encodes
		x.writeJSON(refused.Status, document)
		return
	}
	var e *wire.Error
	if !errors.As(err, &e) {
		// A function may still be at work when the testbed is closed.
		if !errors.Is(err, context.Canceled) && x.bed.life.Err() == nil {
			x.bed.violation("%s of %s failed: %v", x.operation, x.caller.service, err)
		}
		e = serverError(x.caller.service)
		e.Message = err.Error()
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	x.bed.log(x, status, e.Code)
	if x.model != nil {
		if err := x.model.ValidateError(x.operation, e); err != nil && x.operation != "" {
			x.bed.violation("%s", err)
		}
		x.model.WriteError(x.w, x.operation, e, x.id)
		return
	}
	switch {
	case x.caller.service == "s3":
		s3.WriteError(x.w, x.r, status, e.Code, e.Message)
	case x.caller.service == "lambda":
		x.w.Header().Set("X-Amzn-Errortype", e.Code)
		document, _ := json.Marshal(map[string]string{"Type": "User", "Message": e.Message})
		x.w.Header().Set("Content-Type", "application/json")
		x.w.WriteHeader(status)
		x.w.Write(document)
	case x.caller.service == "sts" || strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		// The query protocol, which services use too that the testbed does not play.
		x.w.Header().Set("Content-Type", "text/xml")
		x.w.WriteHeader(status)
		fmt.Fprintf(x.w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
			escape(e.Code), escape(e.Message), x.id)
	default:
		document, _ := json.Marshal(map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + e.Code, "message": e.Message})
		x.writeJSON(status, document)
	}
}

func (x *exchange) serveS3() {
	request := s3.Parse(x.r)
	x.operation = request.Operation
	request.Region = x.caller.region
	request.Allow = func(p wire.Permission) bool { return x.authorize([]wire.Permission{p}) == nil }
	if err := x.authorize(append(request.Permissions(), x.bed.s3.KeyPermissions(request)...)); err != nil {
		io.Copy(io.Discard, io.LimitReader(x.r.Body, maxBody)) // some clients answer only after they have sent everything
		x.writeError(err)
		return
	}
	fault, goOn := x.fault()
	if !goOn {
		return
	}
	if fault.Kind != faults.DropAfter && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead) {
		w := &recorder{ResponseWriter: x.w, status: http.StatusOK}
		x.bed.s3.ServeHTTP(w, request)
		x.bed.log(x, w.status, "")
		return
	}
	x.write(fault, func(w http.ResponseWriter) { x.bed.s3.ServeHTTP(w, request) })
}

// write carries out a write to S3. Its answer waits until the hooks have run,
// or gets lost.
func (x *exchange) write(fault faults.Fault, act func(http.ResponseWriter)) {
	if fault.Kind == faults.DropAfter {
		act(&discard{header: http.Header{}})
		x.bed.acted(x)
		x.drop()
	}
	buffered := &buffer{discard: discard{header: x.w.Header(), status: http.StatusOK}}
	act(buffered)
	x.bed.acted(x)
	x.w.WriteHeader(buffered.status)
	x.w.Write(buffered.body.Bytes())
	x.bed.log(x, buffered.status, "")
}

// serveImport takes the presigned upload of an import file. The bucket is
// Cognito's own, and so is the signature; whose process the address was given
// to is in its security token.
func (x *exchange) serveImport() {
	x.operation = UploadOperation
	x.caller = caller{region: cognito.UploadRegion(x.r.URL.Path), service: "s3", token: x.r.URL.Query().Get(cognito.SecurityToken)}
	x.caller.principal, _ = x.bed.lambda.PrincipalOf(x.caller.token)
	if x.bed.regionDown(x.caller.region) {
		x.bed.cut(x)
		x.drop()
	}
	fault, goOn := x.fault()
	if !goOn {
		return
	}
	x.write(fault, func(w http.ResponseWriter) { x.bed.regional(x.caller.region).cognito.ServeUpload(w, x.r) })
}

// discard is an answer that nobody gets.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

type buffer struct {
	discard
	body bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

var invokePath = regexp.MustCompile(`^/2015-03-31/functions/([^/]+)/invocations$`)

// serveLambda plays Invoke.
func (x *exchange) serveLambda() {
	m := invokePath.FindStringSubmatch(x.r.URL.EscapedPath())
	if m == nil || x.r.Method != http.MethodPost {
		x.writeError(&wire.Error{Code: "InvalidRequestContentException", Message: "Of Lambda's API the testbed plays Invoke only", Status: http.StatusNotImplemented})
		return
	}
	x.operation = "Invoke"
	name, _ := url.PathUnescape(m[1])
	arn := functionARN(x.caller.region, name)
	payload, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody))
	if err != nil {
		return
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		x.writeError(&wire.Error{Code: "InvalidRequestContentException", Message: "Could not parse request body into json", Status: http.StatusBadRequest})
		return
	}
	if err := x.authorize([]wire.Permission{{Action: "lambda:InvokeFunction", Resource: arn}}); err != nil {
		x.writeError(err)
		return
	}
	if _, goOn := x.fault(); !goOn {
		return
	}
	if x.r.Header.Get("X-Amz-Invocation-Type") == "Event" {
		if err := x.bed.lambda.InvokeAsync(x.bed.life, arn, x.caller.principal, payload); err != nil {
			x.writeError(err)
			return
		}
		x.bed.log(x, http.StatusAccepted, "")
		x.w.WriteHeader(http.StatusAccepted)
		return
	}
	result, functionError, err := x.bed.lambda.Invoke(x.r.Context(), arn, x.caller.principal, payload)
	if err != nil {
		x.writeError(err)
		return
	}
	if functionError != "" {
		x.w.Header().Set("X-Amz-Function-Error", functionError)
	}
	x.w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	x.w.Header().Set("Content-Type", "application/json")
	x.bed.log(x, http.StatusOK, functionError)
	x.w.Write(result)
}

// functionARN completes a function's name to its ARN.
func functionARN(region, name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", region, wire.Account, name)
}

// serveSTS plays GetCallerIdentity, which needs no permission.
func (x *exchange) serveSTS() {
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody))
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	x.operation = form.Get("Action")
	if x.operation != "GetCallerIdentity" {
		x.writeError(&wire.Error{Code: "InvalidAction", Message: "Of STS the testbed plays GetCallerIdentity only", Status: http.StatusBadRequest})
		return
	}
	if _, goOn := x.fault(); !goOn {
		return
	}
	x.bed.log(x, http.StatusOK, "")
	x.w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(x.w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn><UserId>%s</UserId><Account>%s</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
		escape(iam.SessionARN(x.caller.principal)), escape(x.caller.accessKey), wire.Account, x.id)
}

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func escape(s string) string { return xmlEscapes.Replace(s) }

// Request is one line of the request log. It holds no content.
type Request struct {
	At        time.Time
	Region    string
	Service   string
	Operation string
	Caller    string // function name, "" for the administrator
	Status    int    // 0: the connection was dropped
	Code      string // error code
	Duration  time.Duration
}

const maxRequests = 500_000 // log lines kept; the oldest half goes first

// requestLog is safe for concurrent use.
type requestLog struct {
	mu   sync.Mutex
	list []Request
}

func (b *Bed) log(x *exchange, status int, code string) {
	entry := Request{
		At: x.began, Region: x.caller.region, Service: x.caller.service, Operation: x.operation,
		Caller: x.caller.principal.Name, Status: status, Code: code, Duration: time.Since(x.began),
	}
	b.requests.mu.Lock()
	defer b.requests.mu.Unlock()
	if len(b.requests.list) >= maxRequests {
		b.requests.list = append([]Request(nil), b.requests.list[maxRequests/2:]...)
	}
	b.requests.list = append(b.requests.list, entry)
}

func newRequestID() string {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
