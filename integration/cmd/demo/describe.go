package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// describePod prints the sidecar's conditions of Vault's pod, and the Events,
// when they describe the whole recovery.
func (st *setup) describePod(ctx context.Context) error {
	pod, err := st.awaitReport(ctx)
	if err != nil {
		return err
	}
	printLine("the pod security/vault-0")
	for _, kind := range []string{gateType, reportType} {
		c := testenv.Condition(pod, kind)
		printLine("  Condition  %s", kind)
		printWrapped("            ", c["status"]+", "+c["reason"]+": "+c["message"])
	}
	events, err := st.events(ctx)
	if err != nil {
		return err
	}
	for _, e := range events {
		printLine("  Event      %s", field(&e, "reason"))
		printWrapped("            ", field(&e, "message"))
	}
	return nil
}

// awaitReport returns Vault's pod when the sidecar has reported that External
// Secrets has recovered: it checks twice before it does.
func (st *setup) awaitReport(ctx context.Context) (pod *unstructured.Unstructured, err error) {
	err = testenv.Await(ctx, 30*time.Second, "the sidecar to tell of the recovery", func() string {
		if pod, err = st.cluster.Get(ctx, "v1", "Pod", "security", "vault-0"); err != nil {
			return err.Error()
		}
		if c := testenv.Condition(pod, reportType); c["status"] != "True" {
			return c["reason"] + ": " + c["message"]
		}
		events, err := st.events(ctx)
		if err != nil {
			return err.Error()
		}
		for _, e := range events {
			if field(&e, "reason") == "ExternalSecretsRecovered" {
				return ""
			}
		}
		return "no Event of it"
	})
	return pod, err
}

// events returns those in Vault's namespace, the oldest first.
func (st *setup) events(ctx context.Context) ([]unstructured.Unstructured, error) {
	list, err := st.cluster.Client.Resource(eventResource).Namespace("security").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the Events: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b unstructured.Unstructured) int {
		return strings.Compare(field(&a, "lastTimestamp"), field(&b, "lastTimestamp"))
	})
	return list.Items, nil
}

func field(o *unstructured.Unstructured, name string) string {
	text, _, _ := unstructured.NestedString(o.Object, name)
	return text
}

// printLog prints what this run of the sidecar logged once it waited for
// Vault, with the time of day alone.
func (st *setup) printLog() {
	fmt.Println()
	printLine("the container vault-unseal-sidecar logged")
	waiting := false
	for line := range strings.Lines(st.sidecar.Output()) {
		waiting = waiting || strings.Contains(line, "waiting, vault does not accept connections")
		stamp, text, found := strings.Cut(strings.TrimSpace(line), " ")
		if _, clock, dated := strings.Cut(stamp, "T"); waiting && found && dated {
			printWrapped("  "+strings.TrimSuffix(clock, "Z"), text)
		}
	}
}
