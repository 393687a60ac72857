// Package browser looks at a page in a real chromium, as a person does: for
// the tests of the status page. It returns errors and knows no testing
// package; what the page ought to show it does not know.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a chromium without a window.
type Browser struct{ ctx context.Context }

// Start starts chromium, which ends with ctx.
func Start(ctx context.Context) (*Browser, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("chromium is missing: install Debian's package chromium, or let make test do so as root: %w", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true))
	ctx, _ = chromedp.NewExecAllocator(ctx, options...)
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("starting chromium: %w", err)
	}
	return &Browser{ctx}, nil
}

// Tab is one page.
type Tab struct {
	ctx    context.Context
	close  context.CancelFunc
	origin string

	mu       sync.Mutex
	problems []string
	loads    int
}

// Open loads a page in a tab of its own, which is prepared before.
func (b *Browser) Open(address string, prepare ...func(*Tab) error) (*Tab, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	ctx, closeTab := chromedp.NewContext(b.ctx)
	t := &Tab{ctx: ctx, close: closeTab, origin: u.Scheme + "://" + u.Host + "/"}
	if err := chromedp.Listen(ctx, t.recordEvent); err != nil {
		return nil, fmt.Errorf("opening a tab: %w", err)
	}
	for _, enable := range []cdp.Command[cdp.Empty, cdp.Empty]{log.Enable, runtime.Enable} {
		if _, err := chromedp.Call(ctx, enable, cdp.Empty{}); err != nil {
			return nil, err
		}
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		return nil, err
	}
	for _, f := range prepare {
		if err := f(t); err != nil {
			return nil, err
		}
	}
	return t, chromedp.Do(ctx, chromedp.Navigate(address))
}

// Close closes the tab.
func (t *Tab) Close() { t.close() }

// WithoutScript forbids scripts.
func (t *Tab) WithoutScript() error {
	_, err := chromedp.Call(t.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return err
}

// recordEvent records errors, policy violations and requests to other hosts.
func (t *Tab) recordEvent(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded: // violations of the CSP are among them
		t.problems = append(t.problems, fmt.Sprintf("log, %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *runtime.EventConsoleAPICalled:
		t.problems = append(t.problems, fmt.Sprintf("console, %s: %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		t.problems = append(t.problems, "exception: "+e.ExceptionDetails.Text)
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument {
			t.loads++
		}
		if !strings.HasPrefix(e.Request.URL, t.origin) && !strings.HasPrefix(e.Request.URL, "data:") {
			t.problems = append(t.problems, "a request to somebody else: "+e.Request.URL)
		}
	}
}

// Problems are errors, violations of the page's policy and requests to others
// that there were so far.
func (t *Tab) Problems() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.problems...)
}

// Loads is how many times a page was loaded as a whole.
func (t *Tab) Loads() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loads
}

// Eval returns what a JavaScript expression comes to.
func Eval[T any](t *Tab, expression string) (T, error) {
	return chromedp.Run(t.ctx, chromedp.Evaluate[T](expression))
}

// Show sets the width of the window, and whether its owner likes it dark.
func (t *Tab) Show(width int, dark bool) error { return t.show(width, 800, 1, dark) }

func (t *Tab) show(width, height int, scale float64, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(t.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	return errors.Join(err, chromedp.Do(t.ctx, chromedp.EmulateViewport(int64(width), int64(height), chromedp.EmulateScale(scale))))
}

// Picture returns the page as PNG, as high as its content and of so many pixels for each
// of the page's own.
func (t *Tab) Picture(width int, scale float64, dark bool) ([]byte, error) {
	if err := t.show(width, 1, scale, dark); err != nil {
		return nil, err
	}
	return chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
}

// Screenshot writes the whole page into a PNG file.
func (t *Tab) Screenshot(file string) error {
	png, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o644)
}

// Roles returns the names of what a screen reader finds, by their roles.
func (t *Tab) Roles() (map[string][]string, error) {
	tree, err := chromedp.Call(t.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		return nil, err
	}
	roles := map[string][]string{}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		name := ""
		if n.Name != nil {
			name = strings.Trim(string(n.Name.Value), `"`)
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		roles[role] = append(roles[role], name)
	}
	return roles, nil
}
