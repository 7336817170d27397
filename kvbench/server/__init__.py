"""Servers: a member of the built-in store on real sockets and disks, and the null servers that calibrate load."""
