package main

import (
	"fmt"
	"strings"
	"time"
)

// columns is how wide the demo prints.
const columns = 96

func heading(text string) { fmt.Printf("\n%s\n\n", text) }

func printLine(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// printWrapped prints a text of any length after a label. Its lines are broken
// between words, and those after the first begin under the text.
func printWrapped(label, text string) {
	indent := strings.Repeat(" ", len(label))
	line := label
	for _, word := range strings.Fields(text) {
		if len(line) > len(label) && len(line)+1+len(word) > columns-3 {
			printLine("%s", line)
			line = indent
		}
		line += " " + word
	}
	printLine("%s", line)
}

// elapsedCounter prints the seconds that pass, on one line.
type elapsedCounter struct {
	from  time.Time
	every time.Duration
	shown time.Duration
}

func (c *elapsedCounter) show() {
	if passed := time.Since(c.from).Truncate(c.every); passed > c.shown {
		c.shown = passed
		fmt.Printf(" %d", int(passed.Seconds()))
	}
}
