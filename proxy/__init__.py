"""The reverse proxy: a process of its own that knows only the route table (`proxy.contract`)."""
