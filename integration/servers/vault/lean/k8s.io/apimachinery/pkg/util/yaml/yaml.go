// Package yaml has the shape of what reads selectors, which are left out.
package yaml

import (
	"errors"
	"io"
)

type Decoder struct{}

func NewYAMLOrJSONDecoder(io.Reader, int) Decoder { return Decoder{} }

func (Decoder) Decode(any) error {
	return errors.New("selectors of namespaces are left out of this Vault")
}
