"""Benchmarks: each a command that prints its figures beside those of the peer it names."""
