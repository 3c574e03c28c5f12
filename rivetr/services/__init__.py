"""What may happen, and what changes now: each verb checks access, applies a spec, commits, enqueues."""
