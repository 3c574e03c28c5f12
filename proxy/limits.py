"""What one connection may use and how long it may take; each has an option of `python -m proxy`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts; 0 means no limit where a limit makes sense at all."""

    header_timeout: float = 15.0
    idle_timeout: float = 75.0
    body_timeout: float = 60.0
    connect_timeout: float = 5.0
    first_byte_timeout: float = 60.0
    stream_timeout: float = 3600.0
    max_head_bytes: int = 32 * 1024
    max_fields: int = 200
    max_request_line: int = 16 * 1024
    max_body_bytes: int = 0
    max_connections: int = 10_000
    max_connections_per_client: int = 2048
