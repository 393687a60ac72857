package main

import (
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
)

// What an option's value may be, and what of it may be shown: a key that was
// given in the wrong place is refused and not repeated.

// bare takes away what a file or an editor puts around a value: white space and
// one pair of quotes.
func bare(v string) string {
	v = strings.TrimSpace(v)
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		v = strings.TrimSpace(v[1 : len(v)-1])
	}
	return v
}

// oneOf sets what to the word that v is, in small letters or not. It reports
// whether v is one of them.
func oneOf[T ~string](what *T, v T, words ...T) bool {
	for _, word := range words {
		if strings.EqualFold(string(v), string(word)) {
			*what = word
			return true
		}
	}
	*what = v
	return false
}

// isOther is oneOf for an option of two words, and sets what to whether v is the
// other one.
func isOther(what *bool, v, usual, other string) bool {
	var word string
	ok := oneOf(&word, v, usual, other)
	*what = word == other
	return ok
}

// switched returns the word that stands for on or off where v is one of the
// usual spellings of them, and else v.
func switched(v, on, off string) string {
	switch strings.ToLower(v) {
	case "on", "true", "yes", "1", "enabled":
		return on
	case "off", "false", "no", "0", "disabled":
		return off
	}
	return v
}

// isDuration sets d to a duration of 0 or at least the least: as Go writes them,
// and days, with blanks or without.
func isDuration(d *time.Duration, v string, least time.Duration) bool {
	v = strings.ToLower(strings.Join(strings.Fields(v), ""))
	days, rest, found := strings.Cut(v, "d")
	if n, err := strconv.ParseUint(days, 10, 16); found && err == nil {
		v = strconv.FormatUint(24*n, 10) + "h" + rest
	}
	var err error
	*d, err = time.ParseDuration(v)
	return err == nil && (*d == 0 || *d >= least)
}

// isUID sets uid to a user's number. The highest is the kernel's word for none.
func isUID(uid **uint32, v string) bool {
	n, err := strconv.ParseUint(v, 10, 32)
	*uid = new(uint32(n))
	return err == nil && n < math.MaxUint32
}

func isPath(v string) bool { return filepath.IsAbs(v) && !isKey(v) }

// arePaths accepts a list of files, relative ones too.
func arePaths(v string) bool {
	return !slices.ContainsFunc(filepath.SplitList(v), func(path string) bool { return isKey(path) || strings.HasPrefix(path, "~") })
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$`)

var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func isObject(v string) bool { return objectName.MatchString(v) && !isKey(v) }

var conditionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

// isCondition tells what Kubernetes accepts as the type of a condition that
// is somebody's own.
func isCondition(v string) bool {
	domain, name, found := strings.Cut(v, "/")
	return found && isObject(domain) && conditionName.MatchString(name) && !isKey(v) && v != podstatus.SecretsCondition
}

func isHost(v string) bool { return hostName.MatchString(v) && !isKey(v) }

var roleName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?$`)

var tokenStart = regexp.MustCompile(`^(hv[sbr]|[sbr])\.|^eyJ`)

// isRole tells a role's name from a token of Vault's or of Kubernetes'.
func isRole(v string) bool { return roleName.MatchString(v) && !tokenStart.MatchString(v) && !isKey(v) }

// isMount tells the path that an auth method is mounted at.
func isMount(v string) bool {
	for segment := range strings.SplitSeq(v, "/") {
		if !isRole(segment) {
			return false
		}
	}
	return len(v) <= 64 && v != "auth" && !isKey(v)
}

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

// redact quotes a value for a message, unless a key could be in it.
func redact(value string) string {
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
