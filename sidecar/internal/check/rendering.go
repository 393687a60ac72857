package check

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// maxRendering bounds what is read, in bytes: the definitions of all custom resources of a
// large home are a tenth of it.
const maxRendering = 32 << 20

// Rendering is what kubectl kustomize or helm template wrote, in the place of a cluster.
type Rendering struct {
	objects []*unstructured.Unstructured
	grants  []grant
}

// ReadRendering reads all documents of a rendering. Where an object names no namespace it
// is of the given one. An error names the line, and shows nothing of what is there: it may
// be a key.
func ReadRendering(in io.Reader, namespace string) (*Rendering, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxRendering+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxRendering {
		return nil, Malformed(fmt.Sprintf("more than %d MiB; give Vault's own rendering alone", maxRendering>>20))
	}
	r := &Rendering{}
	for i, d := range documents(text) {
		if err := r.read(d); err != nil {
			return nil, fmt.Errorf("document %d, %w", i+1, err)
		}
	}
	if len(r.objects) == 0 {
		return nil, Malformed("there is no object in it; see that what renders it has not failed, " +
			"as in: kubectl kustomize . | vault-unseal-sidecar check --manifests -")
	}
	for _, o := range r.objects {
		if o.GetNamespace() == "" && namespace != "" {
			o.SetNamespace(namespace)
		}
	}
	r.grants = grantsIn(r.objects)
	return r, nil
}

// Malformed is why a rendering is none.
type Malformed string

func (m Malformed) Error() string { return string(m) }

// document is a part of a stream, and the line that it begins at.
type document struct {
	text []byte
	line int
}

// documents cuts a stream where a document begins or ends. The line that begins one is a
// part of it: something may follow the dashes.
func documents(text []byte) (out []document) {
	begin, at, line := document{line: 1}, 0, 1
	cut := func(end int) {
		begin.text = text[at:end]
		if len(bytes.Trim(begin.text, "- \t\r\n")) > 0 {
			out = append(out, begin)
		}
		at = end
	}
	for offset := 0; offset < len(text); line++ {
		end := len(text)
		if n := bytes.IndexByte(text[offset:], '\n'); n >= 0 {
			end = offset + n + 1
		}
		mark, rest := text[offset:min(offset+3, end)], text[min(offset+3, end):end]
		marks := len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0
		switch {
		case marks && string(mark) == "---":
			cut(offset)
			begin.line = line
		case marks && string(mark) == "...":
			cut(offset)
			at, begin.line = end, line+1
		}
		offset = end
	}
	cut(len(text))
	return out
}

// read takes the objects of a document.
func (r *Rendering) read(d document) error {
	texts, err := d.values()
	if err != nil {
		return err
	}
	for _, text := range texts {
		var o map[string]any
		if err := yaml.Unmarshal(text, &o); err != nil {
			return d.describe(err)
		}
		if err := r.add(o); err != nil {
			return fmt.Errorf("which begins in line %d: %w", d.line, err)
		}
	}
	return nil
}

// values are the texts of a document. YAML has one, of which a decoder skips all that
// follows; tools that write JSON write one value after another.
func (d document) values() (out [][]byte, err error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(d.text, []byte("---")), " \t\r\n\ufeff")
	for values := json.NewDecoder(bytes.NewReader(text)); bytes.HasPrefix(text, []byte("{")); {
		var value json.RawMessage
		err := values.Decode(&value)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil && len(out) > 0:
			return nil, Malformed(fmt.Sprintf("which begins in line %d: what follows its %s is not JSON", d.line, count(len(out), "object", "objects")))
		case err != nil: // YAML in flow style
			return [][]byte{d.text}, nil
		}
		out = append(out, value)
	}
	return [][]byte{d.text}, nil
}

// describe says what the decoder does not take, without what it repeats of the text.
func (d document) describe(err error) error {
	_, what, found := strings.Cut(err.Error(), "yaml: ")
	line, n := d.line, 0
	if _, err := fmt.Sscanf(what, "line %d:", &n); err == nil {
		line += n - 1
		_, what, _ = strings.Cut(what, ": ")
	}
	for _, repeats := range []struct{ begins, says string }{
		{"invalid map key", "a map is the key of another, as where a template's {{ }} is not filled in"},
		{"unknown anchor", "an anchor is not known"},
		{"cannot", "a value is not what its tag says"},
	} {
		if strings.HasPrefix(what, repeats.begins) {
			what = repeats.says
		}
	}
	if !found {
		what = "it is not an object"
	}
	if n > 0 {
		return Malformed(fmt.Sprintf("line %d: %s; correct what renders it", line, what))
	}
	return Malformed(fmt.Sprintf("which begins in line %d: %s; correct what renders it", line, what))
}

// add takes an object, or those of a list.
func (r *Rendering) add(object map[string]any) error {
	o := &unstructured.Unstructured{Object: object}
	items, isList := object["items"].([]any)
	switch {
	case len(object) == 0: // comments alone
		return nil
	case strings.HasPrefix(o.GetAPIVersion(), "kustomize.config.k8s.io/"):
		return Malformed("it is a kustomization, which has to be rendered: kubectl kustomize . | vault-unseal-sidecar check --manifests -")
	case o.GetKind() == "" || o.GetAPIVersion() == "":
		return Malformed("it has no kind or no apiVersion, as a chart's values have none; " +
			"give what they render to: helm template, kubectl kustomize")
	case !isList || !strings.HasSuffix(o.GetKind(), "List"):
		r.objects = append(r.objects, o)
		return nil
	}
	for i, item := range items {
		object, isObject := item.(map[string]any)
		if !isObject {
			return Malformed(fmt.Sprintf("the item %d of its list is not an object", i+1))
		}
		if err := r.add(object); err != nil {
			return fmt.Errorf("the item %d of its list: %w", i+1, err)
		}
	}
	return nil
}

// named reports whether an object of a kind has a name, in a namespace.
func (r *Rendering) named(kind, namespace, name string) bool {
	return slices.ContainsFunc(r.objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetName() == name && cmp.Or(o.GetNamespace(), namespace) == namespace
	})
}
