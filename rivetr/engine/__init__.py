"""How the slow work is done. Runs in child processes of the worker (see `child`), but for routing."""
