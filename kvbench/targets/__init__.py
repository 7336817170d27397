"""Targets: find, install, start, configure, probe and stop the servers that a benchmark drives."""
