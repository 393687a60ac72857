package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

func filtered(text string, keep fields) (string, error) {
	out, err := io.ReadAll(newFilter(iotest.OneByteReader(strings.NewReader(text)), keep))
	return string(out), err
}

func TestFilter_KeepsOnlyTheFieldsInUse(t *testing.T) {
	for text, want := range map[string]string{
		`{"items":[{"metadata":{"name":"a","labels":{"b":"c"}}}]}`:                                                     `{"items":[{"metadata":{"name":"a"}}]}`,
		`{"type":"ADDED","object":{"metadata":{"name":"a","labels":{"b":"c"}}}}`:                                       `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`,
		`{"kind":"Pod","metadata":{"name":"a","labels":{"b":"c"},"annotations":{"b":"c"}}}`:                            `{"kind":"Pod","metadata":{"name":"a","labels":{"b":"c"}}}`,
		`{"kind":"SecretStore","x":1,"metadata":{"name":"a","managedFields":[],"uid":"u"}}`:                            `{"kind":"SecretStore","metadata":{"name":"a","uid":"u"}}`,
		`{ "spec" : { "provider" : { "vault" : { "server":"s", "caBundle":"x" }, "b":[{}] } } }`:                       `{"spec":{"provider":{"vault":{"server":"s"}}}}`,
		`{"spec":{"provider":{"openBao":{"namespace":"n","auth":{"namespace":"a","jwt":{}}}}}}`:                        `{"spec":{"provider":{"openBao":{"namespace":"n","auth":{"namespace":"a"}}}}}`,
		`{"spec":{"refreshPolicy":"Periodic","syncWindows":{"kind":"allow","windows":[{}]}}}`:                          `{"spec":{"refreshPolicy":"Periodic","syncWindows":{}}}`,
		`{"spec":{"provider":{"vault":{}}}}`:                                                                           `{"spec":{"provider":{"vault":{}}}}`,
		`{"spec":{"data":[{"secretKey":"a"},{"sourceRef":{"storeRef":{"name":"s"}}}]}}`:                                `{"spec":{"data":[{"sourceRef":{"storeRef":{"name":"s"}}}]}}`,
		`{"spec":{"secretStoreRefs":[{"labelSelector":{"matchLabels":{"a":"b"}}}]}}`:                                   `{"spec":{"secretStoreRefs":[{"labelSelector":{}}]}}`,
		`{"spec":{"selector":{"app":"vault","b":"c"}}}`:                                                                `{"spec":{"selector":{"app":"vault","b":"c"}}}`,
		`{"spec":{"clusterIPs":["10.0.0.1",["x"],"fd00::1"]}}`:                                                         `{"spec":{"clusterIPs":["10.0.0.1","fd00::1"]}}`,
		`{"count":12,"spec":{"publishNotReadyAddresses":true,"x":false,"y":-1.5e3,"clusterIP":null}}`:                  `{"count":12,"spec":{"publishNotReadyAddresses":true,"clusterIP":null}}`,
		`{"x":"}\"]{","y":[[["\\"]]],"kind":"\u0041\"\\é世"}`:                                                           `{"kind":"\u0041\"\\é世"}`,
		`{"kind":"Status","status":"Failure","message":"m","code":410,"details":{"causes":[1],"retryAfterSeconds":3}}`: `{"kind":"Status","status":"Failure","message":"m","code":410,"details":{"retryAfterSeconds":3}}`,
		`{"items":[{"kind":"a"},{"x":1},{"kind":"b"}],"metadata":{"continue":"c"}}`:                                    `{"items":[{"kind":"a"},{"kind":"b"}],"metadata":{"continue":"c"}}`,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := filtered(text, answerFields)
			require.NoError(t, err, text)
			assert.Equal(t, want+"\n", got)
		})
	}
}

func TestFilter_RejectsInvalidJSON(t *testing.T) {
	for text, want := range map[string]error{
		"": nil, "\n": nil,
		`{"kind":"a"`: io.ErrUnexpectedEOF, `{"kind":"a`: io.ErrUnexpectedEOF, `{"kind":`: io.ErrUnexpectedEOF, `{"x":[{`: io.ErrUnexpectedEOF,
		`<html>`: errNotJSON, `{"kind" "a"}`: errNotJSON, `{kind:1}`: errNotJSON, `{"kind":x}`: errNotJSON,
		`{"code":` + strings.Repeat("1", 100) + `}`:    errNotJSON,
		`{"x":"` + strings.Repeat("a", maxRead) + `"}`: errTooLarge,
	} {
		t.Run(fmt.Sprintf("%.40q", text), func(t *testing.T) {
			_, err := filtered(text, answerFields)
			assert.ErrorIs(t, err, want)
		})
	}
}

// Whatever an object holds, what is kept of it is a small part of what fits into
// a page, so that a page of one object always passes.
func TestFilter_BoundsTheSizeOfAnObject(t *testing.T) {
	many := func(entry string) string { return "[" + strings.Repeat(entry+",", 2_000_000/len(entry)) + entry + "]" }
	long := `"` + strings.Repeat(`\u001b世`, 100_000) + `"`
	for _, text := range []string{
		`{"metadata":{"name":` + long + `,"uid":` + long + `}}`,
		`{"spec":{"data":` + many(`{"sourceRef":{"storeRef":{"name":"b"},"generatorRef":{"kind":"c"}}}`) + `,"dataFrom":` + many(`{"sourceRef":{"storeRef":{}}}`) + `}}`,
		`{"spec":{"selector":{` + strings.Repeat(`"a":"b",`, 20_000) + `"a":"b"}}}`,
		`{"status":{"conditions":` + many(`{"type":"Ready","status":`+`"`+strings.Repeat("s", 900)+`"}`) + `}}`,
		`{"status":{"conditions":` + many(`[[[[[[]]]]]]`) + `}}`,
		`{"status":{"conditions":` + many(`{}`) + `}}`,
		`{"message":"` + strings.Repeat("\x80", 4<<20) + `"}`,
		`{"message":"` + strings.Repeat("\xf7\x80", 2<<20) + `"}`,
		`{"metadata":{"name":"a` + strings.Repeat("\xbf", 4<<20) + `"}}`,
		`{"spec":{"selector":{"` + strings.Repeat("\x80", 4<<20) + `":"b"}}}`,
		`{"x":` + strings.Repeat(`[`, 1<<20) + strings.Repeat(`]`, 1<<20) + `}`,
		`{"spec":` + strings.Repeat(`{"spec":`, 1<<17) + `1` + strings.Repeat(`}`, 1<<17) + `}`,
	} {
		t.Run(fmt.Sprintf("%.60s", text), func(t *testing.T) {
			out, err := io.ReadAll(newFilter(strings.NewReader(text), answerFields))
			require.NoError(t, err)
			assert.Less(t, len(out), maxKept/4)
			var object map[string]any
			assert.NoError(t, json.Unmarshal(out, &object))
			assert.True(t, utf8.Valid(out) || !utf8.ValidString(text))
		})
	}
}

func TestFilter_PassesEachWatchEventAtOnce(t *testing.T) {
	server, client := io.Pipe()
	_ = server
	f := newFilter(server, answerFields)
	for i := range 3 {
		go fmt.Fprintf(client, `{"type":"ADDED","object":{"kind":"S%d","x":"%s"}}`+"\n", i, strings.Repeat("y", 100_000))
		got := make([]byte, 1000)
		n, err := f.Read(got)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf(`{"type":"ADDED","object":{"kind":"S%d"}}`+"\n", i), string(got[:n]))
	}
	client.Close()
	_, err := f.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
}

// served is a kind of which there are many.
var served = schema.GroupVersionResource{Group: ESOGroup, Version: "v1", Resource: "secretstores"}

// serveLargeObjects serves a list in pages, of objects that are as large as they can be.
func serveLargeObjects(t *testing.T, count, size int, fill func(size int) string, wraps ...func(http.RoundTripper) http.RoundTripper) (*dynamic.DynamicClient, *[]int) {
	var limits []int
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var limit, from int
		fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		fmt.Sscan(r.URL.Query().Get("continue"), &from)
		limits = append(limits, limit)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"external-secrets.io/v1","items":[`)
		to := min(count, from+limit)
		for i := from; i < to; i++ {
			if i > from {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, `{"apiVersion":"external-secrets.io/v1","kind":"SecretStore","metadata":{"annotations":{"a":"%s"},"name":"s%d","namespace":"app"},"spec":%s}`,
				strings.Repeat("x", size/2), i, fill(size/2))
		}
		next := ""
		if to < count {
			next = fmt.Sprint(to)
		}
		fmt.Fprintf(w, `],"kind":"SecretStoreList","metadata":{"continue":%q,"resourceVersion":"7"}}`, next)
	}))
	t.Cleanup(server.Close)
	c := &rest.Config{Host: server.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	c.Wrap(bound(false))
	for _, wrap := range wraps {
		c.Wrap(wrap)
	}
	api, err := dynamic.NewForConfig(c)
	require.NoError(t, err)
	return api, &limits
}

func TestEachObject_HalvesAPageThatIsTooLarge(t *testing.T) {
	api, limits := serveLargeObjects(t, 25, 1<<20, func(size int) string { return `{"x":"` + strings.Repeat("y", size) + `"}` })
	var seen []string
	version, err := EachObject(t.Context(), api.Resource(served), metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		seen = append(seen, o.GetName())
		return true
	})
	require.NoError(t, err)
	assert.Equal(t, "7", version)
	assert.Len(t, seen, 25, "each is seen, once")
	assert.Equal(t, []int{100, 50, 25, 12, 6}, (*limits)[:5])
	assert.Less(t, len(*limits), 20)
}

func TestTransport_LimitsTheReceiveBuffer(t *testing.T) {
	c := &rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: rest.TLSClientConfig{Insecure: true, ServerName: t.Name()}}
	c.Wrap(bound(false))
	at, err := rest.TransportFor(c)
	require.NoError(t, err)
	for {
		if last, is := at.(*http.Transport); is {
			require.NotNil(t, last.HTTP2)
			assert.Equal(t, maxWaiting, last.HTTP2.MaxReceiveBufferPerStream)
			return
		}
		at = at.(utilnet.RoundTripperWrapper).WrappedRoundTripper()
	}
}

// JSON of small objects takes fifty times its size when it is decoded.
func TestEachObject_BoundsTheMemoryForDecoding(t *testing.T) {
	api, _ := serveLargeObjects(t, 25, 1<<20, func(size int) string {
		return `{"data":[` + strings.Repeat(`{"a":0},`, size/8) + `{"sourceRef":{"storeRef":{"name":"home"}}}]}`
	})
	var most uint64
	count := 0
	_, err := EachObject(t.Context(), api.Resource(served), metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
		data := Entries(o.Object, "spec", "data")
		name, _, _ := unstructured.NestedString(data[len(data)-1], "sourceRef", "storeRef", "name")
		assert.Equal(t, "home", name, "the last entry counts")
		count++
		return true
	})
	require.NoError(t, err)
	assert.Equal(t, 25, count)
	assert.Less(t, most, uint64(30<<20), "beside the server's own, which is in this process")
}

func BenchmarkFilter(b *testing.B) {
	text := []byte(`{"items":[` + strings.Repeat(`{"kind":"A","spec":{"data":[{"secretKey":"`+strings.Repeat("x", 300)+`","n":[1,2,3]}]}},`, 1000) + `{}]}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = io.Copy(io.Discard, newFilter(bytes.NewReader(text), answerFields))
	}
}
