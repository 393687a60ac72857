# An option of the seals of clouds, which the one with shares has no use for.
/awskms/d
