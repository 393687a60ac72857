// Package runtime has the shape of what errors are made of.
package runtime

type Object any
