"""What is counted of each route: requests by status class, bytes, and how long they took."""

from bisect import bisect_left

from proxy.contract import LATENCY_BOUNDS


class Counters:
    """Counts since the process began; `buckets` by upper bounds `LATENCY_BOUNDS` and one for what took longer."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "requests", "seconds", "statuses")

    def __init__(self) -> None:
        self.requests = 0
        self.statuses = [0, 0, 0, 0, 0]
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(LATENCY_BOUNDS) + 1)

    def count(self, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """One request has ended."""
        self.requests += 1
        self.statuses[status // 100 - 1] += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.seconds += seconds
        self.buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
