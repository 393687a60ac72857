# What lean.remove removes, and the plugins that are not compiled.
/^\t\t"\(agent\|debug\|events\|monitor\|namespace\|operator \(diagnose\|migrate\|usage\|utilization\)\|operator raft snapshot inspect\|patch\|pki\|plugin\|proxy\|ssh\|transform\|transit\)[a-z -]*": *func()/,/^\t\t},/d
/\(credCert\|credOIDC\|logicalDb\|csr\)\b/d
