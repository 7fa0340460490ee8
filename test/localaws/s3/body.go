package s3

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxObject bounds what one request may carry; everything is in memory.
const maxObject = 512 << 20

// readBody returns the content that a request carries, decoded from
// aws-chunked when it is, and verified against every checksum it came with.
func readBody(r *http.Request) ([]byte, *refusal) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxObject+1))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "IncompleteBody", err.Error()}
	}
	if len(body) > maxObject {
		return nil, &refusal{http.StatusBadRequest, "EntityTooLarge", fmt.Sprintf("The testbed takes at most %d bytes at once.", maxObject)}
	}
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		decoded, trailers, err := decodeChunks(body)
		if err != nil {
			return nil, &refusal{http.StatusBadRequest, "IncompleteBody", err.Error()}
		}
		if want := r.Header.Get("X-Amz-Decoded-Content-Length"); want != strconv.Itoa(len(decoded)) {
			return nil, &refusal{http.StatusBadRequest, "IncompleteBody", fmt.Sprintf("X-Amz-Decoded-Content-Length is %q, the body has %d bytes", want, len(decoded))}
		}
		body = decoded
		for name, value := range trailers {
			r.Header.Set(name, value)
		}
	} else if want := r.Header.Get("X-Amz-Content-Sha256"); len(want) == 64 {
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
			return nil, &refusal{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."}
		}
	}
	for name, sum := range checksums {
		want := r.Header.Get("X-Amz-Checksum-" + name)
		if want == "" || strings.Contains(want, "-") { // "-": of a whole multipart upload
			continue
		}
		h := sum()
		h.Write(body)
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			return nil, &refusal{http.StatusBadRequest, "BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", name)}
		}
	}
	return body, nil
}

// crc64NVME is the polynomial of CRC-64/NVME in Go's reversed notation.
var crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)

var checksums = map[string]func() hash.Hash{
	"Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"Crc64nvme": func() hash.Hash { return bigEndian64{crc64.New(crc64NVME)} },
	"Sha1":      sha1.New,
	"Sha256":    sha256.New,
}

// bigEndian64 makes the byte order of a 64-bit sum explicit.
type bigEndian64 struct{ hash.Hash64 }

func (h bigEndian64) Sum(b []byte) []byte { return binary.BigEndian.AppendUint64(b, h.Sum64()) }

// decodeChunks undoes aws-chunked: <hex size>[;chunk-signature=…]CRLF data CRLF
// …, a chunk of size 0, then trailing headers.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func decodeChunks(body []byte) (content []byte, trailers map[string]string, err error) {
	in := bufio.NewReader(bytes.NewReader(body))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, nil, fmt.Errorf("a chunk has no header: %w", err)
		}
		digits, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseInt(digits, 16, 64)
		if err != nil || size < 0 || size > int64(len(body)) {
			return nil, nil, fmt.Errorf("malformed chunk size %q", digits)
		}
		if size == 0 {
			break
		}
		at := len(content)
		content = append(content, make([]byte, size)...)
		if _, err := io.ReadFull(in, content[at:]); err != nil {
			return nil, nil, fmt.Errorf("a chunk ends early: %w", err)
		}
		if end, err := in.ReadString('\n'); err != nil || strings.TrimSpace(end) != "" {
			return nil, nil, fmt.Errorf("a chunk of %d bytes is longer than that", size)
		}
	}
	trailers = map[string]string{}
	for {
		line, err := in.ReadString('\n')
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			trailers[name] = strings.TrimSpace(value)
		}
		if err != nil {
			return content, trailers, nil
		}
	}
}
