# init looks for no servers in Consul.
/^func (c \*OperatorInitCommand) consulAuto/,/^}/d
s/return c\.consulAuto(client, initReq)/return 1/
/^\t\(consulapi "\|"net\/url"\|"runtime"\)/d
