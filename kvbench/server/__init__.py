"""Servers: the built-in store's member on real sockets and disks, and the null servers that calibrate the load engine."""
