//go:build linux

package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// sealStatus reads the answer that sys/seal-status and sys/unseal have in
// common.
func sealStatus(ctx context.Context, resp *api.Response, err error) (unseal.SealStatus, error) {
	if err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	defer drain(resp.Body)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return unseal.SealStatus{}, fmt.Errorf("answered %d, %w", resp.StatusCode, unseal.ErrNotVault)
	}
	var s api.SealStatusResponse
	if err := json.Unmarshal(raw, &s); err != nil || s.Type == "" {
		return unseal.SealStatus{}, fmt.Errorf("answered 200 without a seal status, %w", unseal.ErrNotVault)
	}
	if !plausible(&s) {
		return unseal.SealStatus{}, fmt.Errorf("answered 200 with a seal of %d of %d shares, of which it has %d, %w",
			s.T, s.N, s.Progress, unseal.ErrNotVault)
	}
	return status(&s), nil
}

// maxShares is the most that Vault splits a key into (shamir/shamir.go, Split).
const maxShares = 255

// plausible reports whether the numbers of a seal status can be Vault's.
func plausible(s *api.SealStatusResponse) bool {
	return s.T >= 0 && s.T <= maxShares && s.N >= 0 && s.N <= maxShares && s.Progress >= 0
}

func status(s *api.SealStatusResponse) unseal.SealStatus {
	return unseal.SealStatus{
		Initialized: s.Initialized,
		Sealed:      s.Sealed,
		Type:        printable(s.Type),
		Threshold:   s.T,
		Shares:      s.N,
		Progress:    s.Progress,
		Nonce:       s.Nonce,
		Migration:   s.Migration,
		// Vault before 1.16 and OpenBao before 2.4 give an auto-unseal the type
		// of its recovery keys, shamir (vault/logical_system.go,
		// GetSealStatus).
		Recovery: s.RecoverySeal,
		Raft:     s.StorageType == "raft",
		Removed:  s.RemovedFromCluster != nil && *s.RemovedFromCluster,
	}
}
