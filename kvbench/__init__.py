"""kvbench: how fast, how big and how safe coordination stores and schedulers are."""

__version__ = "0.1.0"
