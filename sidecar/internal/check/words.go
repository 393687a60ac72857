package check

import (
	"fmt"
	"strings"
)

// namedAtMost bounds how many of a kind are named.
const namedAtMost = 5

// enumerate names things, and only counts those after the first few.
func enumerate(names []string) string {
	if len(names) <= namedAtMost {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), len(names)-namedAtMost)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
