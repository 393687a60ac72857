// Package v1 has of Kubernetes' types what Vault's Kubernetes login sends and reads.
package v1

type TokenReview struct {
	Spec   TokenReviewSpec   `json:"spec"`
	Status TokenReviewStatus `json:"status"`
}

type TokenReviewSpec struct {
	Token     string   `json:"token,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
}

type TokenReviewStatus struct {
	Authenticated bool     `json:"authenticated,omitempty"`
	User          UserInfo `json:"user,omitzero"`
	Audiences     []string `json:"audiences,omitempty"`
	Error         string   `json:"error,omitempty"`
}

type UserInfo struct {
	Username string `json:"username,omitempty"`
	UID      string `json:"uid,omitempty"`
}
