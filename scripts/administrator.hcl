# The policy of the administrator that bootstrap makes: all of Vault. Who may
# write policies can take any right, so a shorter list would only look
# like less. Unlike a root token its tokens run out, and can be taken back by
# removing the user.
path "*" {
  capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"]
}
