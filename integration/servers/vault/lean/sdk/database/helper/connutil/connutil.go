// Package connutil, in the place of the connections to databases, has none.
package connutil

// SQLConnectionProducerFieldNames are asked for by a mount of databases alone.
func SQLConnectionProducerFieldNames() map[string]any { return nil }
