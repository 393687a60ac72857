package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestClusterDomain_FollowsTheSearchList(t *testing.T) {
	for sentence, row := range map[string]struct{ file, want string }{
		"a pod's": {"search security.svc.home.lan svc.home.lan home.lan lan\nnameserver 10.96.0.10\noptions ndots:5\n",
			"home.lan"},
		"with a dot at the end":  {"nameserver 10.96.0.10\nsearch Security.svc.Home.lan. svc.Home.lan.", "home.lan"},
		"of another namespace":   {"search other.svc.home.lan svc.home.lan home.lan\n", ""},
		"a node's":               {"search svc.stranger.example stranger.example\n", ""},
		"without a search list":  {"nameserver 10.96.0.10\n", ""},
		"without anything in it": {"", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			assert.Equal(t, row.want, ClusterDomain(row.file, "security"))
		})
	}
	assert.Empty(t, ClusterDomain("search .svc.home.lan\n", ""), "without a namespace")
}
