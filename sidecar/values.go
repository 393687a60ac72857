package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// What an option's value may be, and what of it may be shown: a key that was
// given in the wrong place is refused and not repeated.

func isPath(v string) bool { return filepath.IsAbs(v) && !isKey(v) }

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$`)

var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func isObject(v string) bool { return objectName.MatchString(v) && !isKey(v) }

var conditionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

// isCondition tells what Kubernetes accepts as the type of a condition that
// is somebody's own.
func isCondition(v string) bool {
	domain, name, found := strings.Cut(v, "/")
	return found && isObject(domain) && conditionName.MatchString(name) && !isKey(v) && v != kube.SecretsCondition
}

func isHost(v string) bool { return hostName.MatchString(v) && !isKey(v) }

// isKey tells a key that was put where a path or a name belongs, because what
// is accepted is logged. A long path is base64 too, but it lacks what a random
// key has: capitals, small letters and digits at once, or hex throughout.
func isKey(v string) bool {
	for more := true; more; _, v, more = strings.Cut(v, "/") {
		mixed := strings.ContainsAny(v, digits) && strings.ContainsAny(v, small) && strings.ContainsAny(v, capitals)
		hex := strings.Trim(v, digits+"abcdefABCDEF") == ""
		if keyfile.LooksLikeShare(v) && (mixed || hex) {
			return true
		}
	}
	return false
}

const (
	digits   = "0123456789"
	small    = "abcdefghijklmnopqrstuvwxyz"
	capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// shown quotes a value for a message, unless a key could be in it.
func shown(value string) string {
	for _, base64 := range []string{"+/=", "-_="} {
		other := func(r rune) bool { return !strings.ContainsRune(digits+small+capitals+base64, r) }
		for _, run := range strings.FieldsFunc(value, other) {
			if len(run) >= 40 || keyfile.LooksLikeShare(run) || keyfile.LooksLikeShare(filepath.Base(run)) {
				return "a value that looks like a key (not shown)"
			}
		}
	}
	return strconv.Quote(value)
}
