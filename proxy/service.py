"""What all connections of this process share."""

from proxy.backends import Backends
from proxy.contract import Snapshot
from proxy.forwarded import Forwarder
from proxy.table import RouteTable
from proxy.upstream import Pool


class Service:
    """The current table, the backends' state, idle connections; `stopping` ends keep-alive."""

    def __init__(self, forwarder: Forwarder, drain_seconds: float) -> None:
        self.table = RouteTable(Snapshot())
        self.backends = Backends(drain_seconds)
        self.pool = Pool()
        self.forwarder = forwarder
        self.stopping = False

    def adopt(self, table: RouteTable) -> None:
        """Serve `table` from now on; requests in flight end as they began."""
        before, self.table = self.table, table
        for address in self.backends.adopt(before.addresses, table.addresses, table.generation):
            self.pool.forget(address)
