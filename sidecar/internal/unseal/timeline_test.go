package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func TestTimeline_ListsTheStepsOfARecovery(t *testing.T) {
	var l timeline
	l.enter(Starting, noon)
	l.enter(Unreachable, noon.Add(10*time.Millisecond))
	l.enter(Unsealing, noon.Add(41*time.Second))
	require.NotNil(t, l.current)
	assert.False(t, l.current.Done)
	assert.Nil(t, l.last)
	l.enter(Activating, noon.Add(41*time.Second+50*time.Millisecond))
	l.enter(Active, noon.Add(42*time.Second))

	assert.Nil(t, l.current)
	assert.Equal(t, &Recovery{Began: noon, Took: 42 * time.Second, Done: true, Steps: []Step{
		{Starting, noon, 10 * time.Millisecond},
		{Unreachable, noon.Add(10 * time.Millisecond), 40*time.Second + 990*time.Millisecond},
		{Unsealing, noon.Add(41 * time.Second), 50 * time.Millisecond},
		{Activating, noon.Add(41*time.Second + 50*time.Millisecond), 950 * time.Millisecond},
	}}, l.last)
	assert.Equal(t, "starting 10ms, unreachable 41s, unsealing 50ms, activating 950ms", l.last.String())
}

func TestTimeline_BeginsARecoveryWhenVaultStopsServing(t *testing.T) {
	var l timeline
	l.enter(Starting, noon)
	l.enter(Active, noon.Add(time.Second))
	first := l.last
	l.enter(Standby, noon.Add(2*time.Second))
	assert.Nil(t, l.current, "from active to standby nothing is to recover")
	assert.Same(t, first, l.last)
	l.enter(StorageHanging, noon.Add(time.Minute))
	require.NotNil(t, l.current)
	assert.Equal(t, noon.Add(time.Minute), l.current.Began)
	assert.Same(t, first, l.last, "the last one stays until the next is done")
	l.enter(Active, noon.Add(2*time.Minute))
	assert.Equal(t, time.Minute, l.last.Took)
}

func TestTimeline_IsBoundedForAFlappingVault(t *testing.T) {
	var l timeline
	at := noon
	for range 10_000 {
		l.enter(Unreachable, at)
		l.enter(Unsealing, at.Add(time.Second))
		at = at.Add(2 * time.Second)
	}
	l.enter(Active, at)
	assert.Len(t, l.last.Steps, maxSteps)
	assert.Equal(t, at.Sub(noon), l.last.Took, "the whole is right")
	var sum time.Duration
	for _, s := range l.last.Steps {
		sum += s.Took
	}
	assert.Equal(t, l.last.Took, sum, "and its steps add up to it")
}

func TestTimeline_ChangesNoRecoveryThatWasPublished(t *testing.T) {
	var l timeline
	l.enter(Starting, noon)
	first := l.current
	l.enter(Unreachable, noon.Add(time.Second))
	second := l.current
	l.enter(Unsealing, noon.Add(2*time.Second))
	l.enter(Active, noon.Add(3*time.Second))
	assert.Equal(t, &Recovery{Began: noon, Steps: []Step{{Phase: Starting, At: noon}}}, first)
	assert.Equal(t, &Recovery{Began: noon, Took: time.Second, Steps: []Step{
		{Phase: Starting, At: noon, Took: time.Second}, {Phase: Unreachable, At: noon.Add(time.Second)},
	}}, second)
	assert.Len(t, l.last.Steps, 3)
}

func TestRound_KeepsThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                         "0s",
		1234 * time.Nanosecond:    "0s",
		12345 * time.Nanosecond:   "10µs",
		1234567:                   "1.23ms",
		52_345_678:                "52ms",
		1_234_567_890:             "1.23s",
		41_234 * time.Millisecond: "41.2s",
		time.Hour + 1:             "1h0m0s",
	} {
		t.Run(d.String(), func(t *testing.T) { assert.Equal(t, want, round(d).String()) })
	}
}
