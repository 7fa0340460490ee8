// Package fuzz holds the fuzz tests that need both the product and the
// testbed. The others stand beside the code that they fuzz.
package fuzz
