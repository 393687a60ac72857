package podstatus

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// The policy on Events names those that are written.
func TestEvent_EachReasonIsInThePolicy(t *testing.T) {
	text, err := os.ReadFile("../../../manifests/gate/events.yaml")
	require.NoError(t, err)
	for _, reason := range []string{eventUnsealed, eventHeld, eventRejected, EventRecovered, EventNotRecovering} {
		assert.Contains(t, string(text), `"`+reason+`"`)
	}
}

// What others wrote may be long, and a policy that refused it would keep the
// condition from being written.
func TestMessage_FitsTheLimitOfThePolicies(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	p := &Pod{gate: newKeptCondition(), events: make(chan Event, 1)}
	p.SetCondition(kube.Condition{Type: "gate", Status: kube.False, Message: long})
	written := []string{p.gate.Message}
	p.RecordEvent(Event{Message: long})
	written = append(written, (<-p.events).Message)
	for file, pattern := range map[string]string{
		"policy.yaml": `c\.\?message\.orValue\(""\)\.size\(\) <= (\d+)`,
		"events.yaml": `object\.\?message\.orValue\(""\)\.size\(\) <= (\d+)`,
	} {
		text, err := os.ReadFile("../../../manifests/gate/" + file)
		require.NoError(t, err)
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		require.NotNil(t, found, file)
		most, err := strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		for _, message := range written {
			assert.LessOrEqual(t, utf8.RuneCountInString(message), most, file)
			assert.Equal(t, message, kube.SafeText(message), "it is read as it was written")
		}
	}
}
