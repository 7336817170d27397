"""The connection table: descriptors, epoll, accept and connect, read and write buffers. Knows no protocol."""
