"""Bytes to records and back, both directions: protobuf, HPACK, HTTP/2, gRPC, etcd, jute. No IO, no clock."""
