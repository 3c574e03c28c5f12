"""Rivetr's control plane: turns a Git push into a running container behind our own proxy."""

__version__ = "0.1.0"
