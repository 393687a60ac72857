package outage

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// probePeriod is the official chart's, of the readiness probe of Vault's container.
const probePeriod = 5 * time.Second

// Service stands in for a Service that leads to a Ready pod alone, as patches/services
// makes Vault's, and for the part of the kubelet that decides whether the pod is: it
// probes Vault each probePeriod, and the pod is Ready while that succeeds and the gate
// is open (k8s.io/kubernetes, pkg/kubelet/status, GeneratePodReadyCondition). Without an
// endpoint a connection is refused (pkg/proxy).
type Service struct {
	Addr string // URL

	cluster *Cluster
	port    string

	mu       sync.Mutex
	listener net.Listener // nil: the pod is not Ready
	open     []net.Conn
	readyAt  time.Time
}

// StartService starts one, which ends with ctx.
func (c *Cluster) StartService(ctx context.Context, port string) *Service {
	s := &Service{Addr: "http://127.0.0.1:" + port, cluster: c, port: port}
	go s.run(ctx)
	return s
}

// ReadyAt returns when the pod turned Ready the last time; zero while it is not.
func (s *Service) ReadyAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readyAt
}

func (s *Service) run(ctx context.Context) {
	defer s.close()
	probes := time.NewTicker(probePeriod)
	looks := time.NewTicker(10 * time.Millisecond)
	serves := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-probes.C:
			serves = s.probe(ctx)
		case <-looks.C:
		}
		switch ready := serves && s.cluster.Gate.Missing("True", 1) == ""; {
		case ready == !s.ReadyAt().IsZero():
		case ready:
			s.listen(ctx)
		default:
			s.close()
			_ = s.report(ctx, "False")
		}
	}
}

// probe is `vault status`, which fails while Vault is sealed.
func (s *Service) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cluster.Vault.Addr+"/v1/sys/seal-status", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return err == nil && strings.Contains(string(text), `"sealed":false`)
}

// report writes the pod's condition, as the kubelet does.
func (s *Service) report(ctx context.Context, status string) error {
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":%q,"lastTransitionTime":%q}]}}`, status, time.Now().UTC().Format(time.RFC3339))
	_, err := s.cluster.Client.Resource(Pods).Namespace("security").Patch(ctx, "vault-0", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (s *Service) listen(ctx context.Context) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		return // it is tried again
	}
	s.mu.Lock()
	s.listener, s.readyAt = listener, time.Now()
	s.mu.Unlock()
	go s.serve(listener)
	_ = s.report(ctx, "True")
}

func (s *Service) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", strings.TrimPrefix(s.cluster.Vault.Addr, "http://"))
		if err != nil {
			client.Close()
			continue
		}
		s.mu.Lock()
		s.open = append(s.open, client, server)
		s.mu.Unlock()
		go func() { _, _ = io.Copy(server, client); server.Close() }()
		go func() { _, _ = io.Copy(client, server); client.Close() }()
	}
}

func (s *Service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	for _, conn := range s.open {
		conn.Close()
	}
	s.listener, s.open, s.readyAt = nil, nil, time.Time{}
}
