// Package register, in the place of the operator's own, registers no generator:
// the tests use none.
package register
