package check

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secretWord stands in what is malformed, and is repeated nowhere.
const secretWord = "kN8r2Jm0Yy1v8GZ0bS7c6cUo4dGq8nB1xq0m1f3Zk9Q"

func TestReadRendering_NamesTheLineOfWhatIsMalformed(t *testing.T) {
	const good = "apiVersion: v1\nkind: A\n"
	for sentence, row := range map[string]struct{ text, want string }{
		"nothing":                           {"", "there is no object in it"},
		"comments alone":                    {"# " + secretWord + "\n---\n# b\n", "there is no object in it"},
		"a list that is not closed":         {good + "---\na: [\nb: " + secretWord + "\n", "document 2, line 5: did not find expected ',' or ']'"},
		"a wrong indent":                    {good + "\n---\r\n\na: 1\n b: " + secretWord + "\n", "document 2, line 7: mapping values are not allowed"},
		"no document before the first mark": {"---\n" + good + "---\na: b: c\n", "document 2, line 5: mapping values"},
		"after the end of a document":       {good + "...\n# b\na: b: c\n", "document 2, line 5: mapping values"},
		"a template that is not filled in":  {"a: {{ ." + secretWord + " }}\n", "which begins in line 1: a map is the key of another, as where a template's {{ }} is not filled in"},
		"an anchor":                         {"a: *" + secretWord + "\n", "an anchor is not known"},
		"a tag":                             {"a: !!int " + secretWord + "\n", "a value is not what its tag says"},
		"a word":                            {secretWord, "document 1, which begins in line 1: it is not an object"},
		"a sequence":                        {"- " + secretWord + "\n", "it is not an object"},
		"a number as the end of its JSON":   {`{"apiVersion": "v1", "kind": "A"} {` + secretWord, "what follows its 1 object is not JSON"},
		"values of a chart":                 {good + "---\nserver: {key: " + secretWord + "}\n", "document 2, which begins in line 3: it has no kind or no apiVersion"},
		"a kustomization":                   {"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", "kubectl kustomize . | vault-unseal-sidecar check --manifests -"},
		"a list of words":                   {"apiVersion: v1\nkind: List\nitems: [" + secretWord + "]\n", "the item 1 of its list is not an object"},
		"a list of what is no object":       {"apiVersion: v1\nkind: List\nitems: [{a: b}]\n", "the item 1 of its list: it has no kind"},
		"too much":                          {strings.Repeat("# comment\n", maxRendering/10+1), "more than 32 MiB"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := ReadRendering(strings.NewReader(row.text), "")
			require.ErrorContains(t, err, row.want)
			assert.NotContains(t, err.Error(), secretWord)
			var malformed Malformed
			assert.ErrorAs(t, err, &malformed)
		})
	}
}

func TestReadRendering_AFailedReadIsNotMalformed(t *testing.T) {
	_, err := ReadRendering(iotest.ErrReader(io.ErrUnexpectedEOF), "")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	var malformed Malformed
	assert.False(t, errors.As(err, &malformed))
}

// Bombs of aliases and of depth are refused by the decoder.
func TestReadRendering_RefusesWhatGrows(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		before := string(n[0] - 1)
		bomb += "a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+before+",", 10), ",") + "]\n"
	}
	for _, text := range []string{bomb, "a: " + strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 100000)} {
		_, err := ReadRendering(strings.NewReader(text), "")
		assert.Error(t, err)
	}
}

func TestReadRendering_TakesEachNotation(t *testing.T) {
	for sentence, row := range map[string]struct {
		text string
		want []string
	}{
		"documents":          {"apiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: B\n", []string{"A", "B"}},
		"comments between":   {"---\n# Source: a\n---\n# Source: b\napiVersion: v1\nkind: A\n---\n", []string{"A"}},
		"after the mark":     {"--- # Source: a\napiVersion: v1\nkind: A\n--- {apiVersion: v1, kind: B}\n", []string{"A", "B"}},
		"ends of documents":  {"apiVersion: v1\nkind: A\n...\n---\napiVersion: v1\nkind: B\n...\n", []string{"A", "B"}},
		"lines of Windows":   {"apiVersion: v1\r\nkind: A\r\n---\r\napiVersion: v1\r\nkind: B\r\n", []string{"A", "B"}},
		"a mark in a text":   {"apiVersion: v1\nkind: A\ntext: |\n  a\n  ---\n  kind: C\n---\napiVersion: v1\nkind: B\n", []string{"A", "B"}},
		"a byte order mark":  {"\ufeffapiVersion: v1\nkind: A\n", []string{"A"}},
		"a list":             {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: BList, items: [{apiVersion: v1, kind: B}]}\n", []string{"A", "B"}},
		"JSON":               {`{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "A"}]}`, []string{"A"}},
		"JSON, one by one":   {`{"apiVersion": "v1", "kind": "A"}` + "\n" + `{"apiVersion": "v1", "kind": "B"}`, []string{"A", "B"}},
		"flow style":         {"{apiVersion: v1, kind: A}\n---\n{apiVersion: v1, kind: B}", []string{"A", "B"}},
		"an object of items": {"apiVersion: v1\nkind: A\nitems: [x]\n", []string{"A"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			r, err := ReadRendering(strings.NewReader(row.text), "")
			require.NoError(t, err)
			var kinds []string
			for _, o := range r.objects {
				kinds = append(kinds, o.GetKind())
			}
			assert.Equal(t, row.want, kinds)
		})
	}
}

func TestReadRendering_AnObjectWithoutANamespaceIsOfTheGivenOne(t *testing.T) {
	const text = "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\napiVersion: v1\nkind: B\nmetadata: {name: b, namespace: there}\n"
	r, err := ReadRendering(strings.NewReader(text), "here")
	require.NoError(t, err)
	assert.Equal(t, "here", r.objects[0].GetNamespace())
	assert.Equal(t, "there", r.objects[1].GetNamespace())
}
