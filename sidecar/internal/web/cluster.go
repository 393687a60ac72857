package web

import (
	"cmp"
	"slices"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// What others wrote is bounded, for the memory's and the reader's sake.
const (
	maxStores = 25
	maxLeft   = 20
	maxText   = 400  // characters
	maxLine   = 2000 // of what the core says, which repeats an error
)

// Cluster is what is known in Kubernetes. The zero value is nothing yet.
type Cluster struct {
	// Status, Reason and Message are those of the pod's condition that tells of
	// External Secrets. An empty Status: nothing is known of it.
	Status, Reason, Message string
	Stores                  []Store
	LeftCount               int      // objects that are not synced
	Left                    []string // the first of them: "Kind namespace/name: ESO's error"
	Image                   string   // of this container, with its digest; empty: unknown
}

// PublishCluster replaces what is known in Kubernetes. It does not block, and
// keeps nothing of c that could be changed later. Of very many stores it keeps
// those that are not ready.
func (s *Server) PublishCluster(c Cluster) {
	c.Reason, c.Message, c.Image = bounded(c.Reason), bounded(c.Message), bounded(c.Image)
	c.Stores = slices.Clone(c.Stores)
	slices.SortStableFunc(c.Stores, func(a, b Store) int {
		rank := map[bool]int{false: 0, true: 1}
		return cmp.Compare(rank[a.Ready], rank[b.Ready])
	})
	c.Stores = c.Stores[:min(len(c.Stores), maxStores)]
	for i := range c.Stores {
		at := &c.Stores[i]
		at.Name, at.Reason, at.Message = bounded(at.Name), bounded(at.Reason), bounded(at.Message)
	}
	c.Left = slices.Clone(c.Left[:min(len(c.Left), maxLeft)])
	for i := range c.Left {
		c.Left[i] = bounded(c.Left[i])
	}
	s.cluster.Store(&c)
}

// PublishProof replaces the last proof of the key. It does not block.
func (s *Server) PublishProof(p unseal.Proof) {
	p.Reason = bounded(p.Reason)
	s.proof.Store(&p)
}

func line(text string) string { return safetext.Line(text, maxLine) }

func bounded(text string) string { return safetext.Line(text, maxText) }
