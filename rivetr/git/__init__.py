"""Adapters to Git: fetching a source, and what Git servers tell us."""
