package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

var errHelp = errors.New("help was asked for")

// incompletePair says that of a certificate and its key one is given alone.
func (c config) incompletePair() error {
	if (c.vault.ClientCert == "") == (c.vault.ClientKey == "") {
		return nil
	}
	return errors.New("--vault-client-cert, VAULT_CLIENT_CERT and --vault-client-key, VAULT_CLIENT_KEY: one without the other; accepted: both or none")
}

// mistyped returns the first of the refused values that a person is told at once,
// where a pod goes on: those from the command line, and the kubeconfig, without
// which another cluster would be looked at than was meant.
func (c config) mistyped() error {
	for _, r := range c.refused {
		if r.flag || r.option == "KUBECONFIG" {
			return r
		}
	}
	return nil
}

// parse reads the options, and a subcommand's own: a flag wins over its
// environment variable, which wins over the default. A blank variable counts as
// not set. White space and quotes around a value are those of a file that it
// came from. It fails on a flag that there is not, on a value that a required
// option or one of the subcommand's own does not accept; others are in
// config.refused, and have their defaults.
func parse(args []string, env func(string) (string, bool), own ...option) (config, error) {
	all := slices.Concat(options, own)
	given, err := flags(args, all)
	if err != nil {
		return config{}, err
	}
	var c config
	for _, o := range all {
		name, value := "default", o.defaultValue
		if v, ok := env(o.env); ok && bare(v) != "" && o.env != "" {
			name, value = o.env, v
		}
		text, isFlag := given[o.flag]
		if isFlag {
			name, value = "--"+o.flag, text
			c.given = append(c.given, o.flag)
		}
		if o.set(&c, bare(value)) {
			continue
		}
		refused := refusedValue{name, redact(value), o.accepts, o.defaultValue, isFlag}
		if o.env == "" || slices.Contains(required, o.flag) {
			return config{}, refused
		}
		c.refused = append(c.refused, refused)
		o.set(&c, o.defaultValue)
	}
	return c, nil
}

// flags returns the values of the flags in the arguments, without looking at them.
func flags(args []string, all []option) (given map[string]string, err error) {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	given = map[string]string{}
	for _, o := range all {
		take := func(text string) error { given[o.flag] = text; return nil }
		if o.defaultValue == "false" { // a switch, which may be given without a value
			set.BoolFunc(o.flag, "", take)
		} else {
			set.Func(o.flag, "", take)
		}
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, errHelp
	} else if err != nil {
		what, name, _ := strings.Cut(err.Error(), ": ") // as in "flag provided but not defined: -x"
		return nil, fmt.Errorf("%s: %s; --help lists the options", what, redact(name))
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%d arguments that are no option, after %q; --help lists the options", set.NArg(), lastOf(args, set.NArg()))
	}
	return given, nil
}

// lastOf names the option before the n arguments that are left over, without
// repeating those: one of them may be a key.
func lastOf(args []string, n int) string {
	if len(args) == n {
		return "vault-unseal-sidecar"
	}
	name, _, _ := strings.Cut(args[len(args)-n-1], "=")
	return redact(name)
}

// usage prints the manual page's short form.
func usage(w io.Writer) {
	fmt.Fprint(w, "vault-unseal-sidecar unseals the HashiCorp Vault beside it.\n\n"+
		"  vault-unseal-sidecar [run] [options]\n"+
		"  vault-unseal-sidecar check [options]     whether the next reboot would recover; changes nothing\n"+
		"  vault-unseal-sidecar status [options]    what the one that runs here tells of itself\n"+
		"  vault-unseal-sidecar version\n\n"+
		"Each option is a flag and an environment variable; the flag wins.\n\n")
	for _, o := range options {
		o.writeUsage(w)
	}
	for _, name := range []string{"check", "status"} {
		fmt.Fprintf(w, "\nOf %s alone:\n\n", name)
		for _, o := range ownOptions[name] {
			o.writeUsage(w)
		}
	}
}

func (o option) writeUsage(w io.Writer) {
	names := "--" + o.flag
	if o.env != "" {
		names += ", " + o.env
	}
	fmt.Fprintf(w, "  %s (default %s)\n      %s\n      accepts: %s\n", names, cmp.Or(o.defaultValue, "(empty)"), o.help, o.accepts)
}

func utc() time.Time { return time.Now().UTC() }
