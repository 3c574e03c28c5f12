"""A request's body on its way to the backend: of known length, or chunks that are read and framed anew."""

from proxy import chunks, fields
from proxy.chunks import ChunkReader
from proxy.fields import Malformed
from proxy.head import Refused, RequestHead


class Upload:
    """What is still to come of a body: `left` bytes, or chunks until `is_done`. `size` is what came so far."""

    __slots__ = ("_most", "_reader", "left", "size")

    def __init__(self, request: RequestHead, most_bytes: int) -> None:
        self._reader = ChunkReader() if request.fields.is_chunked else None
        self._most = most_bytes
        self.left = request.fields.length
        self.size = 0

    @property
    def is_done(self) -> bool:
        return self._reader is None and not self.left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What to send of `data`, framed as the head said, and what comes after the body. Raises `Refused`."""
        if self._reader is None:
            out = data[: self.left]
            self.moved(len(out))
            return out, data[len(out) :]
        try:
            content = self._reader.feed(data, fields.REQUEST_NAMES)
        except Malformed:
            raise Refused(400, "The request's body is not valid.") from None
        self.size += sum(map(len, content))
        if self._most and self.size > self._most:
            raise Refused(413, "The request's body is larger than this app takes.")
        out = chunks.framed(content)
        if not self._reader.is_done:
            return out, b""
        rest, out = self._reader.rest, out + chunks.last(self._reader.trailers)
        self._reader = None
        return out, rest

    def moved(self, count: int) -> None:
        """So many bytes went on."""
        self.left -= count
        self.size += count
