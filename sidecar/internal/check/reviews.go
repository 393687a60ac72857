package check

import (
	"cmp"
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

const authorization = "authorization.k8s.io"

var (
	ownReviews     = schema.GroupVersionResource{Group: authorization, Version: "v1", Resource: "selfsubjectaccessreviews"}
	subjectReviews = schema.GroupVersionResource{Group: authorization, Version: "v1", Resource: "subjectaccessreviews"}
)

// policyDelay is how soon a policy is in force that was just applied, at the latest.
const policyDelay = 3 * time.Second

// maxConcurrentReviews bounds how many rights are asked for at once.
const maxConcurrentReviews = 8

// checkRights asks for each right that the sidecar needs, and for each that it
// should not have. Everybody may ask for his own; from outside it is asked for
// the pod's ServiceAccount, and not for whoever runs this. The pod is nil when
// it could not be read.
func (c *Checker) checkRights(ctx context.Context, home Scope, pod *pod) []Finding {
	who, account := "the sidecar's ServiceAccount", ""
	if pod != nil {
		account = cmp.Or(pod.Spec.ServiceAccountName, "default")
		who = "the ServiceAccount " + home.Namespace + "/" + account
	}
	if c.outside && account == "" {
		return []Finding{{About: AboutRights, Level: Unknown,
			Text: "the pod's ServiceAccount is not known, and so neither are its rights"}}
	}
	needs, whole := home.requirements(), home.everything().requirements()
	rights := home.excessPermissions()
	for _, n := range whole {
		rights = append(rights, n.Rights...)
	}
	answers := c.askAll(ctx, account, rights)
	out := evaluateRequirements(needs, who, answers)
	out = append(out, home.evaluateExcess(who, answers)...)
	if home.isAdministrator(answers) { // whom no policy binds
		return out
	}
	var seen policy.Verdicts // also of what is granted and not used
	if c.outside {
		seen = c.readPolicies(ctx, account, whole, answers)
	} else {
		name := ""
		if pod != nil {
			name = pod.Name
		}
		seen = policy.NewTrial(c.api, c.config.policies()).RunTwice(ctx, name, policyDelay)
	}
	return append(out, evaluatePolicies(seen, needs)...)
}

func userOf(namespace, account string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// askAll asks for all the rights: for our own by their lists, and for what these do
// not answer one by one, several at a time.
func (c *Checker) askAll(ctx context.Context, account string, rights []Right) map[Right]Answer {
	answers := map[Right]Answer{}
	if !c.outside {
		rights = c.askRules(ctx, rights, answers)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, maxConcurrentReviews)
	for _, r := range rights {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			a := c.ask(ctx, account, r)
			mu.Lock()
			defer mu.Unlock()
			answers[r] = a
		})
	}
	group.Wait()
	return answers
}

func (c *Checker) ask(ctx context.Context, account string, r Right) Answer {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	spec := map[string]any{"resourceAttributes": map[string]any{
		"verb": r.Verb, "group": r.Group, "resource": r.Resource, "subresource": r.Subresource, "namespace": r.Namespace, "name": r.Name,
	}}
	reviews, kind := ownReviews, "SelfSubjectAccessReview"
	if c.outside {
		reviews, kind = subjectReviews, "SubjectAccessReview"
		const accounts = "system:serviceaccounts"
		spec["user"] = userOf(c.config.Namespace, account)
		spec["groups"] = []any{accounts, accounts + ":" + c.config.Namespace, "system:authenticated"}
	}
	review := &unstructured.Unstructured{Object: map[string]any{"apiVersion": authorization + "/v1", "kind": kind, "spec": spec}}
	answer, err := c.api.Resource(reviews).Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return Answer{Err: kube.DescribeError(err)}
	}
	allowed, _, _ := unstructured.NestedBool(answer.Object, "status", "allowed")
	return Answer{Allowed: allowed}
}
