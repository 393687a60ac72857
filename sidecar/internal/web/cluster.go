package web

import "github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"

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

// PublishCluster replaces what is known in Kubernetes. It does not block.
func (s *Server) PublishCluster(c Cluster) { s.cluster.Store(&c) }

// PublishProof replaces the last proof of the key. It does not block.
func (s *Server) PublishProof(p unseal.Proof) { s.proof.Store(&p) }
