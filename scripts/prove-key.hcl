# The policy of the role that proves the mounted key (--prove-role): to begin,
# authorize and cancel a rekey, and to give the token back. It allows nothing else.

# Vault
path "sys/rekey/init" {
  capabilities = ["read", "update", "delete"]
}
path "sys/rekey/update" {
  capabilities = ["update"]
}

# OpenBao from 2.5
path "sys/rotate/root/init" {
  capabilities = ["read", "update", "delete"]
}
path "sys/rotate/root/update" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}
