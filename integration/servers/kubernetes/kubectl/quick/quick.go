// Package quick has kubectl start in two thirds of the time, which is all that most of its
// runs take: it speaks English without looking for translations, and collects garbage only
// when there is a lot. It must be initialized before the packages that are translated: their
// paths come later in the alphabet, which is the order that Go has for those that could be
// next.
package quick

import (
	"runtime/debug"

	"k8s.io/kubectl/pkg/util/i18n"
)

func init() {
	debug.SetGCPercent(800)
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err)
	}
}
