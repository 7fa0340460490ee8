// Package docs holds the documentation to its word: that links lead somewhere,
// that commands, parameters, inputs and quoted messages exist in the product,
// and that README.ja.md says what README.md says.
package docs
