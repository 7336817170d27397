"""The smallest kernels: libc, clock, atomics, bits, buffer, rng, histogram."""
