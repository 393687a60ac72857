// Package english has kubectl speak English without looking for translations,
// which takes a fifth of what it computes before it does anything. It must be
// initialized before the packages that are translated: their paths come later in
// the alphabet, which is the order that Go has for those that could be next.
package english

import "k8s.io/kubectl/pkg/util/i18n"

func init() {
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err)
	}
}
