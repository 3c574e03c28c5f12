"""How rows are named: random UUIDs as text."""

import uuid


def new_id() -> str:
    """A fresh random UUID (version 4) in its usual text form."""
    return str(uuid.uuid4())
