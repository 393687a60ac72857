package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext/safetexttest"
)

// projection is what fields keep of a small value.
func projection(value any, keep fields, page bool) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, each := range value {
			of, wanted := keep[name]
			if !wanted {
				of, wanted = keep[anyField]
			}
			if wanted && len(name) <= maxName {
				out[name] = projection(each, of, name == itemsField)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, each := range value {
			if _, isList := each.([]any); isList || !page && len(out) == maxList {
				continue
			}
			part := projection(each, keep, false)
			if object, is := part.(map[string]any); !is || len(object) > 0 {
				out = append(out, part)
			}
		}
		return out
	}
	return value
}

// FuzzFilter compares what it lets through with a decoder's view of the whole.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{
		`{"items":[{"kind":"a","status":{"conditions":[{"type":"Ready","x":[1,"\u00e9"]}]}}],"code":-1.5e+3,"details":{}}`,
		`{"spec":{"selector":{"a":"b"},"clusterIPs":["1",{},[]]},"kind":null}`,
		`{"type":"ADDED","object":{"metadata":{"name":"ä","uid":true}}} {"kind":"b"}`,
		`{"metadata":{"labels":{"` + strings.Repeat("a", maxName+1) + `":"b"}}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := filtered(text, answerFields)
		require.LessOrEqual(t, len(out), 2*len(text), "each value ends a line")
		var whole, part any
		if json.Unmarshal([]byte(text), &whole) != nil {
			return
		}
		if _, is := whole.(map[string]any); !is {
			return
		}
		if err == errNotJSON && strings.ContainsAny(text, "0123456789") {
			return // a number that is too long
		}
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(out), &part), out)
		// The filter counts a name's bytes as they come, a decoder's are others where there are
		// escapes or lone bytes.
		if len(text) <= minString && !strings.Contains(text, `\`) && utf8.ValidString(text) {
			assert.Equal(t, projection(whole, answerFields, false), part, text)
		}
	})
}

// answer is a transport that has one answer for some requests, and then none.
type answer struct {
	code int
	kind string
	body string
	left int
}

func (a *answer) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.left--; a.left < 0 {
		return nil, errors.New("the server is gone") // of an end in the middle client-go would try again
	}
	return &http.Response{
		StatusCode: a.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: -1,
		Header: http.Header{"Content-Type": {a.kind}}, Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

// FuzzAnswer has each kind of request answered by anything.
func FuzzAnswer(f *testing.F) {
	klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(io.Discard))))
	for code, body := range map[uint16]string{
		200: `{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"a","resourceVersion":"7"},"items":[{"kind":"Pod","apiVersion":"v1",` +
			`"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":"8"}}]}`,
		201: `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}}{"type":"BOOKMARK","object":{"kind":"Pod"}}`,
		202: `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","code":410,"reason":"Expired","message":"a\u009b"}}`,
		203: `{"kind":"PodList","apiVersion":"v1","items":[{"kind":"Pod","metadata":{"name":"a"},"status":{"conditions":[` +
			`{"type":"Ready","status":"False","reason":"\u009b2J","message":"a\u001b[2J\nb"}]}}]}`,
		409: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,"message":"a\u001b[2J\u202e"}`,
		403: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,` +
			`"message":"pods \"a\" is forbidden: User \"system:serviceaccount:security:vault\" cannot patch"}`,
		422: `{"kind":"Status","message":"pods \"a\" is forbidden: ValidatingAdmissionPolicy 'x' denied request","details":{"retryAfterSeconds":1}}`,
		500: "\x1b[2J", 401: "", 429: "{}",
	} {
		f.Add(code, body, true)
	}
	f.Fuzz(func(t *testing.T, code uint16, body string, isJSON bool) {
		if code < 200 || code > 599 {
			code = 200 + code%400
		}
		kind := map[bool]string{true: "application/json", false: "text/plain"}[isJSON]
		pods := func() dynamic.ResourceInterface {
			transport := bounded{&answer{int(code), kind, body, 5}, false}
			api, err := dynamic.NewForConfigAndClient(&rest.Config{Host: "https://a"}, &http.Client{Transport: transport})
			require.NoError(t, err)
			return api.Resource(Pods).Namespace("security")
		}
		seen := func(o *unstructured.Unstructured) bool {
			require.LessOrEqual(t, len(o.GetName()), 253)
			for _, c := range ConditionsOf(o) {
				safetexttest.RequireHarmless(t, c.Type+c.Status+c.Reason+c.Message+c.Since, 5*(maxSafeText+3))
			}
			return true
		}
		_, listing := EachObject(t.Context(), pods(), metav1.ListOptions{}, seen)
		r := Reflector{API: pods(), Update: func(o *unstructured.Unstructured, _ bool) { seen(o) }}
		_, watching := r.watch(t.Context(), "1", func() {})
		_, getting := pods().Get(t.Context(), "a", metav1.GetOptions{})
		_, patching := Patch(t.Context(), pods(), "a", types.MergePatchType, map[string]any{})
		for _, err := range []error{listing, watching, getting, patching} {
			requireSafeLog(t, err)
		}
	})
}

// requireSafeLog logs an error as it is logged when a request fails.
func requireSafeLog(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	safetexttest.RequireHarmless(t, DescribeError(err).Error(), maxSafeText+3)
	require.LessOrEqual(t, RetryAfter(1, MissingKindRetry, err), MissingKindRetry*5/4)
	require.False(t, LacksRight(err) && ByPolicy(err) && PolicyOf(err) != "", "a right and a policy: %v", err)
	var line bytes.Buffer
	log := NewTelemetry(hclog.New(&hclog.LoggerOptions{Output: &line}), nil, Rights{Namespace: "security"})
	var last ErrorLog
	last.Log(log, "listing", GrantsGate, err)
	require.LessOrEqual(t, line.Len(), 8*maxSafeText)
	text := strings.TrimSuffix(line.String(), "\n")
	safetexttest.RequireHarmless(t, text, 8*maxSafeText)
}

// FuzzClusterDomain reads what the kubelet writes, or whoever made the image.
func FuzzClusterDomain(f *testing.F) {
	f.Add("search security.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.10", "security")
	f.Add("search\tSECURITY.svc.\n", "")
	f.Fuzz(func(t *testing.T, text, namespace string) {
		domain := ClusterDomain(text, namespace)
		if domain != "" {
			require.NotEmpty(t, namespace)
			require.Contains(t, strings.ToLower(text), namespace+".svc."+domain)
			require.False(t, strings.ContainsFunc(domain, unicode.IsSpace))
		}
	})
}
