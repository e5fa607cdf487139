"""Log lines: their form, their context, and that no secret ever stands in one."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from penguin_hub.platform import logging as hub_logging

KEY = "pm_live_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PASSWORD = "correct-horse-battery"
CANARIES = (KEY[8:], WEBHOOK_SECRET[6:], PASSWORD)


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging is set up for the whole process; the rest of the suite gets it back as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def stream(restored: None) -> io.StringIO:
    out = io.StringIO()
    hub_logging.configure(json=True, stream=out)
    return out


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_context(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="req_1", tenant="ten_1")
    structlog.get_logger().info("two\nlines", count=3)
    (line,) = lines(stream)
    assert line["event"] == "two\nlines"
    assert (line["level"], line["request_id"], line["tenant"], line["count"]) == ("info", "req_1", "ten_1", 3)
    assert line["timestamp"].endswith("Z")


def test_records_of_the_standard_library_take_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("somebody.else").warning("connected to %s", f"postgresql://penguin:{PASSWORD}@db/penguin")
    logging.getLogger("somebody.else").info("not worth a line")
    (line,) = lines(stream)
    assert line["logger"] == "somebody.else"
    assert line["level"] == "warning"
    assert line["event"] == "connected to postgresql://[redacted]@db/penguin"


def test_a_librarys_trace_of_an_outage_is_one_word(stream: io.StringIO) -> None:
    class LibraryError(Exception): ...

    own = type("ConnectionError", (LibraryError,), {})("refused")
    for error in (ConnectionRefusedError(111, "refused"), own, KeyError("a bug")):
        try:
            raise error
        except type(error):
            logging.getLogger("somebody.else").warning("failed", exc_info=True)
    outage, of_library, bug = lines(stream)
    assert outage["why"] == "ConnectionRefusedError: [Errno 111] refused"
    assert of_library["why"] == "ConnectionError: refused"
    assert "exception" not in outage | of_library
    assert "Traceback" in bug["exception"]


def test_warnings_are_logged(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert lines(stream)[0]["logger"] == "py.warnings"


def test_a_traceback_is_kept_and_redacted(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"refused: Authorization: Bearer {KEY}")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "ValueError: refused" in line["exception"]
    assert KEY[8:] not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} is unknown",
        f"({KEY})",
        f"signed with {WEBHOOK_SECRET}.",
        f"Authorization: Bearer {PASSWORD}",
        f"authorization=Basic {PASSWORD}=",
        f"postgresql://penguin:{PASSWORD}@127.0.0.1:5432/penguin?host=/run",
        f"unix://:{PASSWORD}@/run/valkey.sock",
        f"https://user:pass/{PASSWORD}@example.com/",
        f"https://{PASSWORD}@example.com/hook",
        f"https://example.com/hook?token={PASSWORD}&x=1",
        f"host=db password={PASSWORD} user=x",
        f"password='{PASSWORD}'",
        f'{{"password": "{PASSWORD}", "user": "x"}}',
        f"{{'api_key': '{PASSWORD}'}}",
        f"-----BEGIN EC PRIVATE KEY-----\n{PASSWORD}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{PASSWORD}",
    ],
)
def test_no_form_of_a_secret_gets_through(stream: io.StringIO, text: str) -> None:
    structlog.get_logger().info(text, extra=text, nested={"list": [text]}, raw=text.encode())
    for canary in CANARIES:
        assert canary not in stream.getvalue()
    assert hub_logging.REDACTED in stream.getvalue()


@pytest.mark.parametrize(
    "name",
    ["password", "smtp_password", "client_secret", "accessToken", "Authorization", "set-cookie", "api_key", "dsn"],
)
def test_a_value_with_a_telling_name_is_not_shown(stream: io.StringIO, name: str) -> None:
    structlog.get_logger().info("x", **{name: PASSWORD}, nested={name: [PASSWORD]})
    assert PASSWORD not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/contacts?limit=25",
        "mail to somebody@example.com",
        "keys are made of pm_live_ and 32 characters",
        "token bucket is empty",
        "https://example.com/a/b?c=d",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert hub_logging.redact_text(text) == text


def test_numbers_with_a_telling_name_are_shown() -> None:
    assert hub_logging.redact(None, "info", {"tokens_left": 3, "secret": None}) == {"tokens_left": 3, "secret": None}


def test_what_json_cannot_write_is_shown_by_its_repr(stream: io.StringIO) -> None:
    class Thing:
        def __repr__(self) -> str:
            return f"Thing({KEY})"

    structlog.get_logger().info("x", thing=Thing(), error=OSError(f"no {KEY}"))
    (line,) = lines(stream)
    assert line["thing"] == "Thing(pm_live_[redacted])"
    assert line["error"] == "no pm_live_[redacted]"


def test_a_stream_that_is_gone_does_not_fail_the_work(stream: io.StringIO) -> None:
    stream.close()
    structlog.get_logger().info("nobody reads this")


def test_text_for_a_terminal_is_redacted_too(restored: None) -> None:
    out = io.StringIO()
    hub_logging.configure(json=False, stream=out)
    structlog.get_logger().info("made", value=KEY)
    assert "made" in out.getvalue()
    assert KEY[8:] not in out.getvalue()
