"""OPERATION in, OUTCOME out: one module per protocol with the same six kernels, and the choice between them."""
