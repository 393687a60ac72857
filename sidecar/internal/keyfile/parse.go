package keyfile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// parsed is what one file holds. scripts/shares.jq follows the same rules;
// testdata/shapes.json tests both.
type parsed struct {
	shares []unseal.Share
	flaw   string // what the first part looks like that is no share
	line   int    // where it is; 0: whatever is in the file
	flaws  int    // parts that are no share
	token  bool   // a token of Vault's is in it
	json   bool
	padded bool // text with white space other than the ends of lines
}

const (
	whatToken    = "looks like a token of Vault's"
	whatRecovery = "recovery keys, which do not unseal"
	whatNoKeys   = "JSON without unseal keys"
)

// label begins a line of what `vault operator init` and `rekey` print
// (command/operator_init.go, command/operator_rekey.go).
var label = regexp.MustCompile(`(?m)^[ \t]*(?:(Unseal |Recovery |)Key \d+|(?:Initial )?Root Token):`)

// tokenForm is that of a token: service, batch and recovery tokens, as Vault
// writes them since 1.10, before, and OpenBao (sdk/helper/consts/token_consts.go).
var tokenForm = regexp.MustCompile(`^(hv[sbr]|[sbr]|[sbr]br)\.[A-Za-z0-9_.-]{20,}$`)

// rootName is that of an entry for a root token, whatever its form: those of
// before Vault 1.0 and of a dev server have none of their own.
var rootName = regexp.MustCompile(`(?i)(^|[^a-z])root([^a-z]|token|$)`)

// parse takes the shares out of a file: each word of it, of the lines that
// `vault operator init` prints the keys alone, and of JSON the values of the
// fields that hold unseal keys. What it says of the rest is made of fixed
// words, numbers of lines and lengths; the decoders' errors are dropped, since
// hex's quotes the digit that it stumbles over.
func parse(content []byte) (p parsed) {
	text := bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	start := bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		p.refuse("saved as UTF-16, save it as plain ASCII", 1)
	case len(start) > 0 && (start[0] == '{' || start[0] == '['):
		p.takeJSON(text)
	default:
		p.takeText(text)
	}
	if len(p.shares) == 0 && p.flaws == 0 && !p.token {
		p.refuse("empty", 0)
	}
	return p
}

func (p *parsed) takeText(text []byte) {
	printed := label.Match(text)
	number := 0
	for line := range bytes.Lines(text) {
		number++
		ended := bytes.TrimSuffix(line, []byte("\n"))
		p.padded = p.padded || len(ended) == 0 || len(bytes.TrimSpace(ended)) != len(ended)
		words := bytes.FieldsFunc(line, separates)
		if m := label.FindSubmatchIndex(line); m != nil {
			words = bytes.FieldsFunc(line[m[1]:], separates)
			switch {
			case m[2] < 0:
				p.token = true
				continue
			case m[3]-m[2] == len("Recovery "):
				p.refuse(whatRecovery, number)
				continue
			}
		} else if printed && len(words) > 1 {
			continue // a sentence of Vault's
		}
		for _, word := range words {
			p.take(word, number)
		}
	}
}

// separates tells what can stand between shares. None of it can be in one.
func separates(r rune) bool { return r == 0 || unicode.IsSpace(r) || strings.ContainsRune(",;\"'`", r) }

// takeJSON reads strings and the names of fields, and nothing else of JSON:
// encoding/json would leave copies of the key in memory.
func (p *parsed) takeJSON(text []byte) {
	p.json = true
	var name []byte
	line := 1
	for len(text) > 0 {
		switch text[0] {
		case '\n':
			line++
			fallthrough
		default:
			text = text[1:]
		case '"':
			end := stringEnd(text)
			if end < 0 {
				text = nil // it was cut off
				continue
			}
			value := text[1:end]
			text = text[end+1:]
			if rest := bytes.TrimSpace(text); len(rest) > 0 && rest[0] == ':' {
				name = value
				continue
			}
			p.takeValue(name, value, line)
		}
	}
	if len(p.shares) == 0 && p.flaws == 0 {
		p.refuse(whatNoKeys, 1)
	}
}

// stringEnd returns where the string that text begins with ends, or -1.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// takeValue takes a value by the name of its field, which is nil in a list
// alone. The names are those of `vault operator init -format=json` and of the
// API's sys/init, sys/rekey/update and sys/rotate/root/update.
func (p *parsed) takeValue(name, value []byte, line int) {
	switch named := string(name); {
	case name == nil, slices.Contains([]string{"unseal_keys_b64", "unseal_keys_hex", "keys", "keys_base64"}, named):
		p.take(value, line)
	case strings.HasPrefix(named, "recovery_keys"):
		p.refuse(whatRecovery, line)
	case named == "root_token" && len(value) > 0, tokenForm.Match(value):
		p.token = true
	}
}

func (p *parsed) take(word []byte, line int) {
	if tokenForm.Match(word) {
		p.token = true
		return
	}
	share, err := decode(word)
	if err != nil {
		p.refuse(err.Error(), line)
		return
	}
	if p.json { // in hex and in base64
		p.shares = addNew(p.shares, []unseal.Share{share})
		return
	}
	p.shares = append(p.shares, share)
}

func (p *parsed) refuse(what string, line int) {
	if p.flaws == 0 {
		p.flaw, p.line = what, line
	}
	p.flaws++
}

// remarks tells what is in the file that is no share.
func (p *parsed) remarks(entry string) (out []unseal.Remark) {
	if p.token {
		out = append(out, unseal.Remark{Entry: entry, What: whatToken, Token: true})
	}
	if p.flaws == 0 {
		return out
	}
	if len(p.shares) == 0 && !p.token && p.line > 0 && rootName.MatchString(entry) {
		return []unseal.Remark{{Entry: entry, What: "by its name a root token", Token: true}}
	}
	what := p.flaw
	if len(p.shares)+p.flaws > 1 {
		what = fmt.Sprintf("line %d: %s", p.line, what)
	}
	if p.flaws > 1 {
		what += fmt.Sprintf(" (and %d more)", p.flaws-1)
	}
	return append(out, unseal.Remark{Entry: entry, What: what})
}
