package kube

import "strings"

// ClusterDomain returns below which domain the cluster has its Services, by the search list that
// the kubelet gives the pods of a namespace (pkg/kubelet/network/dns); "" where the list is
// another.
func ClusterDomain(resolvConf, namespace string) string {
	for line := range strings.Lines(resolvConf) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "search" {
			continue
		}
		for _, word := range words[1:] {
			if domain, is := strings.CutPrefix(strings.ToLower(word), namespace+".svc."); is && namespace != "" {
				return strings.TrimSuffix(domain, ".")
			}
		}
	}
	return ""
}
