package main

import (
	"context"
	"fmt"
	"strings"
)

// esoPaces are what of ESO's flags bounds its pace: how many ExternalSecrets it syncs at
// once, and how many requests a second it sends to the API server.
var esoPaces = [][]string{
	{"--concurrent=1"}, // the default, as is --client-qps=50 --client-burst=100
	{"--concurrent=2"},
	{"--concurrent=5"},
	{"--concurrent=5", "--client-qps=200", "--client-burst=400"},
	{"--concurrent=20", "--client-qps=200", "--client-burst=400"},
}

// concurrency prints what ESO's own flags do to its floor, and so to every recovery.
func concurrency(ctx context.Context, r rounds) error {
	fmt.Printf("External Secrets' floor by its flags: all is well, from the first request to sync to the last\n"+
		"ExternalSecret synced; the median of %d rounds at %d, one round at %d.\n\n", r.eso, fewSecrets, manySecrets)
	fmt.Printf("%-55s %9d %9d\n", "flags of ESO's controller", fewSecrets, manySecrets)
	for _, flags := range esoPaces {
		few, err := floor(ctx, fewSecrets, r.eso, flags...)
		if err != nil {
			return fmt.Errorf("%s: %w", flags, err)
		}
		many, err := floor(ctx, manySecrets, 1, flags...)
		if err != nil {
			return fmt.Errorf("%s: %w", flags, err)
		}
		fmt.Printf("%-55s %9s %9s\n", strings.Join(flags, " "),
			formatSeconds(summarize(few).median), formatSeconds(summarize(many).median))
	}
	return nil
}
