package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Digest is an order-independent digest over (id, type, content hash) of a set
// of records: the sum, word by word, of their SHA-256 hashes. Two sets that
// differ in a record, or hold one twice, have different digests.
type Digest [4]uint64

// add takes the hash from the content itself, not from what the item says of
// it, so that a content which was damaged in storage shows.
func (d *Digest) add(key Key, content []byte) {
	h := sha256.New()
	for _, part := range []string{key.ID, key.Type, hashOf(content)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	sum := h.Sum(nil)
	for i := range d {
		d[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}

func (d *Digest) merge(other Digest) {
	for i := range d {
		d[i] += other[i]
	}
}

// MarshalText writes 64 hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) {
	var b [32]byte
	for i, word := range d {
		binary.BigEndian.PutUint64(b[8*i:], word)
	}
	return []byte(hex.EncodeToString(b[:])), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != 32 {
		return fmt.Errorf("a digest has 64 hexadecimal digits, not %q", text)
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}
