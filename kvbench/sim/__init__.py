"""Members of the built-in store on a simulated network, disk and clock: production code, adverse circumstances.

Everything that ``node`` decides is the code that serves; here are only the sockets, disks and clocks it would have
had, made to lose, delay, tear and pause, from one seed. The same seed gives the same trace, hash for hash.
"""
