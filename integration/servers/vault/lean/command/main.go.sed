# Of the commands that vault's help begins with, one is removed.
/^\t"agent",$/d
