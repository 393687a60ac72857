package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// yearVault is a Vault of one share, with the Secret beside it. What a real one does is tested
// in integration/: this one has virtual time, and keeps nothing of what it was asked.
type yearVault struct {
	mu      sync.Mutex
	process string        // that listens; empty: none
	gone    chan struct{} // closed when it ends
	hung    chan struct{} // not nil: storage, and what waits for it, until it is closed
	failure error         // of each call
	sealed  bool
	key     string
	rekey   string // the nonce of the one under way
	rekeys  int
	token   string // of the proof's session

	mounted []string
	stamp   int
}

// with changes it under its lock.
func (v *yearVault) with(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// begin starts a process, sealed as every new one is.
func (v *yearVault) begin(process string) {
	v.end()
	v.with(func() { v.process, v.gone, v.sealed, v.rekey = process, make(chan struct{}), true, "" })
}

func (v *yearVault) end() {
	v.with(func() {
		if v.process != "" {
			v.process = ""
			close(v.gone)
		}
	})
}

func (v *yearVault) hang() { v.with(func() { v.hung = make(chan struct{}) }) }

func (v *yearVault) thaw() { v.with(func() { close(v.hung); v.hung = nil }) }

// mount puts shares into the Secret.
func (v *yearVault) mount(shares ...string) {
	v.with(func() { v.mounted, v.stamp = shares, v.stamp+1 })
}

func (v *yearVault) Process() (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.process, nil
}

func (v *yearVault) Revision() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprint(v.stamp)
}

func (v *yearVault) Read() (shares []unseal.Share, remarks []unseal.Remark, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, share := range v.mounted {
		shares = append(shares, unseal.NewShare([]byte(share)))
	}
	if len(shares) == 0 {
		return nil, nil, errors.New("/keys: empty")
	}
	return shares, nil, nil
}

// call connects, waits for the storage if the call does, and answers under the lock.
func (v *yearVault) call(ctx context.Context, storage bool, answer func() error) error {
	time.Sleep(100 * time.Microsecond)
	v.mu.Lock()
	process, gone, hung := v.process, v.gone, v.hung
	v.mu.Unlock()
	if process == "" {
		return fmt.Errorf("connection refused: %w", unseal.ErrUnreachable)
	}
	if storage && hung != nil {
		select {
		case <-hung:
		case <-gone:
			return fmt.Errorf("connection broken: %w", unseal.ErrBroken)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure != nil {
		return v.failure
	}
	return answer()
}

func (v *yearVault) SealStatus(ctx context.Context) (s unseal.SealStatus, err error) {
	err = v.call(ctx, false, func() error { s = v.status(); return nil })
	return s, err
}

func (v *yearVault) status() unseal.SealStatus {
	return unseal.SealStatus{Initialized: true, Sealed: v.sealed, Type: "shamir", Threshold: 1, Shares: 1}
}

func (v *yearVault) Health(ctx context.Context) (a unseal.Answer, err error) {
	err = v.call(ctx, false, func() error {
		a = map[bool]unseal.Answer{true: unseal.AnswerSealed, false: unseal.AnswerActive}[v.sealed]
		return nil
	})
	return a, err
}

func (v *yearVault) Unseal(ctx context.Context, share unseal.Share) (s unseal.SealStatus, err error) {
	text := string(share.AppendHex(nil))
	err = v.call(ctx, true, func() error {
		if text != fmt.Sprintf("%x", v.key) {
			return fmt.Errorf("unsealing: %w", unseal.ErrInvalidKey)
		}
		v.sealed = false
		s = v.status()
		return nil
	})
	return s, err
}

func (v *yearVault) ReadStorage(ctx context.Context) error {
	return v.call(ctx, true, func() error { return nil })
}

func (v *yearVault) AwaitListener(ctx context.Context, pause func() time.Duration) {
	for ctx.Err() == nil {
		if process, _ := v.Process(); process != "" {
			return
		}
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
		}
	}
}

// session is one that a proof has logged in for.
type session struct {
	*yearVault
	token string
}

var errToken = fmt.Errorf("answered 403: %w", unseal.ErrRefused)

func (s session) calls(ctx context.Context, answer func() error) error {
	return s.call(ctx, true, func() error {
		if s.token != s.yearVault.token {
			return errToken
		}
		return answer()
	})
}

func (s session) Rekey(ctx context.Context) (r unseal.Rekey, err error) {
	err = s.calls(ctx, func() error {
		r = unseal.Rekey{Started: s.rekey != "", Nonce: s.rekey, Ours: s.rekey != ""}
		return nil
	})
	return r, err
}

func (s session) BeginRekey(ctx context.Context) (unseal.Rekey, error) {
	err := s.calls(ctx, func() error { s.rekeys++; s.rekey = fmt.Sprint("nonce-", s.rekeys); return nil })
	if err != nil {
		return unseal.Rekey{}, err
	}
	return s.Rekey(ctx)
}

func (s session) AuthorizeRekey(ctx context.Context, share unseal.Share, nonce string) (p unseal.Progress, err error) {
	text := string(share.AppendHex(nil))
	err = s.calls(ctx, func() error {
		if text != fmt.Sprintf("%x", s.key) {
			return fmt.Errorf("rekeying: %w", unseal.ErrInvalidKey)
		}
		p = unseal.Progress{Shares: 1, Enough: true}
		return nil
	})
	return p, err
}

func (s session) CancelRekey(ctx context.Context, nonce string) error {
	return s.calls(ctx, func() error { s.rekey = ""; return nil })
}

func (s session) Logout(ctx context.Context) error {
	return s.calls(ctx, func() error { s.yearVault.token = ""; return nil })
}

// login has another token each time, as the kubelet renews that of the pod.
func (v *yearVault) login(ctx context.Context) (unseal.Session, error) {
	var token string
	err := v.call(ctx, true, func() error { token = fmt.Sprint("token ", time.Now()); v.token = token; return nil })
	return session{v, token}, err
}
