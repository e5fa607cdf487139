"""What is kept of one attempt: packed into one column, because no query ever looks into it."""

import msgspec

from penguin_hub.delivery.client import Timings


class Detail(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The request's headers, and the answer's headers, cut body and timings."""

    trigger: str
    request_headers: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    truncated: bool
    timings: Timings
    message: str | None = None
    """Our own sentence, or a connector's, on what went wrong."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Detail)


def pack(detail: Detail) -> bytes:
    return _encoder.encode(detail)


def unpack(raw: bytes) -> Detail:
    return _decoder.decode(raw)
