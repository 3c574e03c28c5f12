"""Adapters to container engines, all behind the `Runtime` protocol of `base`."""
