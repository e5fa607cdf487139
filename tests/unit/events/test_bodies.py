"""What is delivered, byte for byte: part of CASES W19 and W46."""

from datetime import UTC, datetime

import msgspec
import pytest
from penguin_hub.events.errors import EventTooLarge
from penguin_hub.events.schemas import MAX_DATA, NewEvent, PublishedEvent
from penguin_hub.events.service import _check, _row, stamp
from penguin_hub.http.bodies import decode
from penguin_hub.platform.errors import Invalid

NUMBER = "evt_06f3k2v9d5q0c3t1m8s7r6p4n2"


def test_w19_data_that_a_tenant_wrote_is_kept_as_he_wrote_it() -> None:
    raw = b'{"b": 1.0,\n "a":"\\/ \\u00e9 \xf0\x9f\x90\xa7","n":[1e3, 2.50]}'
    event = decode(b'{"type":"x.y","data":' + raw + b"}", PublishedEvent)
    body = _row(NewEvent(type=event.type, data=event.data, workspace="wsp_a"), NUMBER)[-1]
    assert body.startswith(b'{"id":"' + NUMBER.encode() + b'","type":"x.y","timestamp":"')
    assert body.endswith(b'","workspace":"wsp_a","data":' + raw + b"}")


def test_a_tenant_s_own_id_is_the_message_s_and_the_time_is_his() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    row = _row(NewEvent(type="x", data={}, message_id="order-1", occurred_at=at), NUMBER)
    assert msgspec.json.decode(row[-1]) == {
        "id": "order-1",
        "type": "x",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "workspace": None,
        "data": {},
    }
    assert stamp(at) == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_w46_data_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        _check(PublishedEvent(type="x", data=msgspec.Raw(data)), "#")


def test_data_that_is_too_large_is_refused() -> None:
    with pytest.raises(EventTooLarge):
        _check(PublishedEvent(type="x", data=msgspec.Raw(b"{" + b" " * MAX_DATA + b"}")), "#")


@pytest.mark.parametrize("identity", ["a.b", "a b", "a\x00", "", "x" * 129, "ä"])
def test_w40_an_id_that_would_blur_the_signature_is_refused(identity: str) -> None:
    with pytest.raises(Invalid):
        decode(msgspec.json.encode({"type": "x", "data": {}, "id": identity}), PublishedEvent)


@pytest.mark.parametrize("type", ["a\r\nX: y", "a..b", ".a", "a.", "", "a b", "a/b"])
def test_w40_a_type_that_is_no_word_is_refused(type: str) -> None:
    with pytest.raises(Invalid):
        decode(msgspec.json.encode({"type": type, "data": {}}), PublishedEvent)
