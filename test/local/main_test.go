package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// assembly writes a cloud assembly of one stack whose only function is told
// which pool it backs up.
func assembly(t *testing.T, poolID string) string {
	t.Helper()
	dir := t.TempDir()
	trust := map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]any{"Service": "lambda.amazonaws.com"}}}}
	environment := map[string]any{}
	if poolID != "" {
		environment["PRIMARY_USER_POOL_ID"] = poolID
	}
	for name, document := range map[string]any{
		"manifest.json": map[string]any{"artifacts": map[string]any{"T-Primary": map[string]any{
			"type": "aws:cloudformation:stack", "environment": "aws://unknown-account/eu-west-1", "properties": map[string]any{"templateFile": "t.json"}}}},
		"t.json": map[string]any{"Resources": map[string]any{
			"Role": map[string]any{"Type": "AWS::IAM::Role", "Properties": map[string]any{"AssumeRolePolicyDocument": trust}},
			"Probe": map[string]any{"Type": "AWS::Lambda::Function", "Properties": map[string]any{
				"FunctionName": "T-probe", "Handler": "probe", "Runtime": "provided.al2023", "Role": map[string]any{"Fn::GetAtt": []any{"Role", "Arn"}},
				"Environment": map[string]any{"Variables": environment}}},
		}},
	} {
		b, err := json.Marshal(document)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const source = "../localaws/testdata"

// output can be read while run writes it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestRunsUntilInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out output
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-assembly", assembly(t, "eu-west-1_Abc123"), "-source", source, "-port", "0", "-users", "5", "-groups", "2"}, &out, &out)
	}()
	for begun := time.Now(); !strings.Contains(out.String(), "Ctrl-C"); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("ended: %v\n%s", err, &out)
		default:
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("not up after a minute:\n%s", &out)
		}
	}
	endpoint := regexp.MustCompile(`endpoint +(http://127\.0\.0\.1:\d+)`).FindStringSubmatch(out.String())[1]
	if _, err := http.Get(endpoint); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"eu-west-1_Abc123", "export AWS_ENDPOINT_URL=" + endpoint, "aws cognito-idp list-users"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
	interrupt()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still running after the interrupt")
	}
	if _, err := http.Get(endpoint); err == nil {
		t.Error("the endpoint still answers")
	}
}

func TestRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	good := assembly(t, "eu-west-1_Abc123")
	for name, c := range map[string]struct {
		args []string
		path string
		want string
	}{
		"port taken":       {[]string{"-assembly", good, "-port", port}, os.Getenv("PATH"), "port " + port + " is taken"},
		"no port":          {[]string{"-assembly", good, "-port", "70000"}, os.Getenv("PATH"), "from 0 to 65535"},
		"not synthesized":  {[]string{"-assembly", t.TempDir()}, os.Getenv("PATH"), "make synth"},
		"no pool in stack": {[]string{"-assembly", assembly(t, ""), "-port", "0"}, os.Getenv("PATH"), "make synth"},
		"no node":          {[]string{"-assembly", good, "-port", "0"}, t.TempDir(), "install Node.js"},
		"no such folder":   {[]string{"-assembly", good, "-port", "0", "-from", "nowhere"}, os.Getenv("PATH"), "-from nowhere"},
		"factor":           {[]string{"-factor", "0"}, os.Getenv("PATH"), "above 0"},
		"unknown flag":     {[]string{"-colour"}, os.Getenv("PATH"), "see -help"},
		"no dash":          {[]string{"colour"}, os.Getenv("PATH"), "colour is no option"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			var out output
			err := run(t.Context(), append([]string{"-source", source}, c.args...), &out, &out)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error: %v", err)
			}
		})
	}
}
