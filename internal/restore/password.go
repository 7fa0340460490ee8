package restore

import (
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
)

// passwordLength is the longest minimum length that a password policy can ask for.
const passwordLength = 99

// classes are the kinds of characters that a policy may require; the symbols
// are among those that the developer guide lists.
var classes = []string{
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"abcdefghijklmnopqrstuvwxyz",
	"0123456789",
	"!#$%&()*+,-./:;<=>?@[]^_{|}~",
}

// randomPassword makes a password that nobody knows and that every password
// policy accepts. It is handed to Cognito and forgotten: the user sets another
// one through "forgot password".
func randomPassword(random io.Reader) (string, error) {
	all := classes[0] + classes[1] + classes[2] + classes[3]
	password := make([]byte, 0, passwordLength)
	for i := range passwordLength {
		alphabet := all
		if i < len(classes) {
			alphabet = classes[i]
		}
		n, err := pick(random, len(alphabet))
		if err != nil {
			return "", err
		}
		password = append(password, alphabet[n])
	}
	// The first four have known classes; shuffling hides which.
	for i := len(password) - 1; i > 0; i-- {
		j, err := pick(random, i+1)
		if err != nil {
			return "", err
		}
		password[i], password[j] = password[j], password[i]
	}
	return string(password), nil
}

func pick(random io.Reader, n int) (int, error) {
	v, err := rand.Int(random, big.NewInt(int64(n)))
	if err != nil {
		return 0, fmt.Errorf("make a password: %w", err)
	}
	return int(v.Int64()), nil
}
