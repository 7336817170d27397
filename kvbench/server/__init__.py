"""Servers: the null servers that calibrate the load engine."""
