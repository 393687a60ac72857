// Package schema has the shape of what errors are made of.
package schema

type GroupResource struct{}
