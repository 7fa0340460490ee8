package dynamodb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cognito-backup/test/localaws/wire"
)

const startTimeout = 30 * time.Second // a cold node on a busy machine

// dynalite is one dynalite process.
type dynalite struct {
	endpoint string
	client   *http.Client
	cmd      *exec.Cmd
	exited   chan struct{}
}

// CheckInstalled tells in one sentence what is missing to run dynalite from
// the module root's node_modules.
func CheckInstalled(root string) error {
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("the testbed's DynamoDB needs Node.js, but node is not on the PATH: install Node.js 20 or newer and try again")
	}
	if _, err := os.Stat(cli(root)); err != nil {
		if _, err := exec.LookPath("npm"); err != nil {
			return errors.New("the testbed's DynamoDB (dynalite) is not installed, and npm is not on the PATH: install npm, run `npm ci` and try again")
		}
		return errors.New("the testbed's DynamoDB (dynalite) is not installed: run `npm ci` and try again")
	}
	return nil
}

// cli is dynalite's program in the node_modules of root or of a folder above
// it, where npm would look too.
func cli(root string) string {
	name := filepath.Join("node_modules", "dynalite", "cli.js")
	if absolute, err := filepath.Abs(root); err == nil {
		root = absolute
	}
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil || dir == filepath.Dir(dir) {
			return filepath.Join(dir, name)
		}
	}
}

// startDynalite runs dynalite for one Region.
func startDynalite(ctx context.Context, root, region string) (*dynalite, error) {
	if err := CheckInstalled(root); err != nil {
		return nil, err
	}
	var firstErr error
	for range 3 { // somebody else may take the free port first
		d, err := tryDynalite(ctx, root, region)
		if err == nil {
			return d, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, firstErr
}

func tryDynalite(ctx context.Context, root, region string) (*dynalite, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()

	var complaints bytes.Buffer
	cmd := exec.Command("node", cli(root), "--host", "127.0.0.1", "--port", strconv.Itoa(port),
		"--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0")
	cmd.Env = append(os.Environ(), "AWS_REGION="+region, "AWS_ACCOUNT_ID="+wire.Account)
	cmd.Stderr = &complaints
	cmd.SysProcAttr = ownGroup()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dynalite: %w", err)
	}
	d := &dynalite{
		endpoint: fmt.Sprintf("http://127.0.0.1:%d/", port),
		// Node closes a connection that was idle for five seconds; ours close
		// earlier, so that no request meets one that is just being closed.
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64, DisableCompression: true, IdleConnTimeout: 2 * time.Second,
		}},
		cmd:    cmd,
		exited: make(chan struct{}),
	}
	listening := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "listening") {
				select {
				case listening <- true:
				default:
				}
			}
		}
		cmd.Wait()
		close(d.exited)
	}()
	select {
	case <-listening:
		return d, nil
	case <-d.exited:
		return nil, fmt.Errorf("dynalite ended at once: %s", strings.TrimSpace(complaints.String()))
	case <-time.After(startTimeout):
		d.close()
		return nil, fmt.Errorf("dynalite did not start within %s", startTimeout)
	case <-ctx.Done():
		d.close()
		return nil, ctx.Err()
	}
}

func (d *dynalite) close() {
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.exited
	d.client.CloseIdleConnections()
}

// call carries out one operation and returns what dynalite answered; the error
// is a *Refusal when DynamoDB said no.
func (d *dynalite) call(ctx context.Context, operation string, input []byte) (json.RawMessage, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint, bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	// On a machine that is busy node may close a connection all the same. Then the
	// request was not read, and this lets the transport send it again; without a
	// value it is not sent.
	request.Header["Idempotency-Key"] = nil
	// dynalite wants to see a signature; who may call was decided before.
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=local")
	response, err := d.client.Do(request)
	if err != nil {
		select {
		case <-d.exited:
			return nil, fmt.Errorf("%s: dynalite has died", operation)
		default:
		}
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, body)
	}
	return body, nil
}

// Refusal is an error answer of DynamoDB, kept as a document because some
// carry more than code and message (Item, CancellationReasons).
type Refusal struct {
	Status   int
	Code     string
	Message  string
	Document map[string]json.RawMessage
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

func refusal(status int, body []byte) *Refusal {
	r := &Refusal{Status: status, Code: "InternalServerError", Document: map[string]json.RawMessage{}}
	if json.Unmarshal(body, &r.Document) != nil {
		r.Message = fmt.Sprintf("dynalite answered %d", status)
		return r
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // or Message: encoding/json ignores case
	}
	if json.Unmarshal(body, &e) == nil {
		if i := strings.LastIndexByte(e.Type, '#'); i >= 0 {
			e.Type = e.Type[i+1:]
		}
		r.Code, r.Message = e.Type, e.Message
	}
	return r
}
