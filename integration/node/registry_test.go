package node

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// registry is a registry of one image, in memory: of the distribution protocol,
// what pushing and looking up ask for. It refuses content that is not what its
// digest says.
type registry struct {
	mu               sync.Mutex
	blobs, manifests map[string][]byte
	types            map[string]string
	upload           []byte
}

func newRegistry() *registry {
	return &registry{blobs: map[string][]byte{}, manifests: map[string][]byte{}, types: map[string]string{}}
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Path == "/v2/" {
		return
	}
	if _, of, found := strings.Cut(req.URL.Path, "/blobs/uploads/"); found {
		r.receive(w, req, of != "")
		return
	}
	kind := r.blobs
	_, name, found := strings.Cut(req.URL.Path, "/blobs/")
	if !found {
		kind = r.manifests
		_, name, found = strings.Cut(req.URL.Path, "/manifests/")
	}
	if req.Method == http.MethodPut && found {
		r.name(w, req, name)
		return
	}
	content, there := kind[name]
	if !there {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}`)
		return
	}
	w.Header().Set("Content-Type", r.types[name])
	w.Header().Set("Docker-Content-Digest", "sha256:"+sha256Hex(content))
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	if req.Method == http.MethodGet {
		_, _ = w.Write(content)
	}
}

// receive takes a blob: begun by POST, sent by PATCH or PUT, ended by PUT.
func (r *registry) receive(w http.ResponseWriter, req *http.Request, begun bool) {
	w.Header().Set("Location", strings.TrimSuffix(strings.TrimSuffix(req.URL.Path, "/1"), "/")+"/1")
	if !begun {
		r.upload = nil
		w.WriteHeader(http.StatusAccepted)
		return
	}
	part, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.upload = append(r.upload, part...)
	if req.Method != http.MethodPut {
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(r.upload)-1))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	digest := req.URL.Query().Get("digest")
	if digest != "sha256:"+sha256Hex(r.upload) {
		http.Error(w, "other content than its digest says", http.StatusBadRequest)
		return
	}
	r.blobs[digest], r.types[digest] = r.upload, "application/octet-stream"
	w.WriteHeader(http.StatusCreated)
}

// name takes a manifest, by its digest or a tag.
func (r *registry) name(w http.ResponseWriter, req *http.Request, name string) {
	content, err := io.ReadAll(req.Body)
	digest := "sha256:" + sha256Hex(content)
	if err != nil || strings.HasPrefix(name, "sha256:") && name != digest {
		http.Error(w, "other content than its digest says", http.StatusBadRequest)
		return
	}
	for _, each := range []string{name, digest} {
		r.manifests[each], r.types[each] = content, req.Header.Get("Content-Type")
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}
