package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// describePod prints the sidecar's conditions of Vault's pod, and the Events,
// when they describe the whole recovery.
func describePod(ctx context.Context, c *outage.Cluster) error {
	// The sidecar checks twice before it reports.
	if err := c.AwaitReported(ctx, 30*time.Second); err != nil {
		return err
	}
	events, err := awaitEvents(ctx, c, "ExternalSecretsRecovered")
	if err != nil {
		return err
	}
	pod, err := c.Get(ctx, "v1", "Pod", "security", "vault-0")
	if err != nil {
		return err
	}
	printLine("the pod security/vault-0")
	for _, kind := range []string{outage.GateCondition, outage.ReportCondition} {
		condition := testenv.Condition(pod, kind)
		printLine("  Condition  %s", kind)
		printWrapped("            ", condition["status"]+", "+condition["reason"]+": "+condition["message"])
	}
	for _, e := range events {
		printLine("  Event      %s", field(&e, "reason"))
		printWrapped("            ", field(&e, "message"))
	}
	return nil
}

// awaitEvents returns the Events in Vault's namespace once one has the reason, the
// oldest first.
func awaitEvents(ctx context.Context, c *outage.Cluster, reason string) (events []unstructured.Unstructured, err error) {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "events"}
	err = testenv.Await(ctx, 30*time.Second, "the Event "+reason, func() string {
		list, err := c.Client.Resource(resource).Namespace("security").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		events = list.Items
		for _, e := range events {
			if field(&e, "reason") == reason {
				return ""
			}
		}
		return "no Event of it"
	})
	slices.SortFunc(events, func(a, b unstructured.Unstructured) int {
		return strings.Compare(field(&a, "lastTimestamp"), field(&b, "lastTimestamp"))
	})
	return events, err
}

func field(o *unstructured.Unstructured, name string) string {
	text, _, _ := unstructured.NestedString(o.Object, name)
	return text
}

// printLog prints what this run of the sidecar logged once it waited for
// Vault, with the time of day alone.
func printLog(sidecar *testenv.Sidecar) {
	fmt.Println()
	printLine("the container vault-unseal-sidecar logged")
	waiting := false
	for line := range strings.Lines(sidecar.Output()) {
		waiting = waiting || strings.Contains(line, "waiting, vault does not accept connections")
		stamp, text, found := strings.Cut(strings.TrimSpace(line), " ")
		if _, clock, dated := strings.Cut(stamp, "T"); waiting && found && dated {
			printWrapped("  "+strings.TrimSuffix(clock, "Z"), text)
		}
	}
}
