"""Ranges of the negative codes that kernels return. Each package's IntEnum stays within its own."""

RT = range(-99, 0)
NET = range(-199, -99)
HTTP2 = range(-299, -199)
HPACK = range(-399, -299)
GRPC = range(-499, -399)
PROTOBUF = range(-599, -499)
JUTE = range(-699, -599)
CLIENT = range(-799, -699)
LOAD = range(-899, -799)
PEER = range(-999, -899)
RAFT = range(-2099, -1999)
