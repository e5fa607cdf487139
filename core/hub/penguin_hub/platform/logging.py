"""Logs: one JSON object per line on standard error (readable text on a terminal), and never a secret.

Everything goes through one chain, the standard library's records included. Context (`request_id`, `tenant`) comes from
`structlog.contextvars`. Redaction comes last before rendering, so that it sees formatted tracebacks too.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import IO, Any, Final

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED: Final = "[redacted]"

_SENSITIVE_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|authorization|cookie|credential|signature|dsn|private|(api|signing|access)_?key",
    re.IGNORECASE,
)
# Each replaces what its groups do not keep.
_SENSITIVE_TEXT: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"\b(pm_(?:live|test)_)[0-9A-Za-z]{16,}"), rf"\1{REDACTED}"),
    (re.compile(r"\b(whs(?:ec|k)_)[0-9A-Za-z+/=_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"\b(hv[sbr]\.)[0-9A-Za-z_-]{8,}"), rf"\1{REDACTED}"),  # HashiCorp Vault
    (re.compile(r"\b(Bearer|Basic)\s+[0-9A-Za-z._~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    # The user part of a URL ends at the last @; it may hold a slash when somebody forgot to encode a password.
    (re.compile(r"(://)(?:[^\s/?#@]*|[^\s/?#@:]*:[^\s@]*)@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"""\b(pass(?:word|wd|phrase)|secret|token|authorization|api[_-]?key|access[_-]?key|signature)"""
            r"""(["']?\s*[=:]\s*)(?!\[redacted\])("[^"]*"|'[^']*'|[^\s,;&"'}]+)""",
            re.IGNORECASE,
        ),
        rf"\1\2{REDACTED}",
    ),
)
# One of these is in every text that a pattern above can match: most texts need no more than this look.
_HINT = re.compile(
    r"pm_|whs|hv[sbr]\.|@|PRIVATE|bearer|basic|pass|secret|token|authorization|key|signature", re.IGNORECASE
)


def configure(*, json: bool | None = None, stream: IO[str] | None = None, level: int = logging.INFO) -> None:
    """Set logging up for this process. `json` None: text when the stream is a terminal, JSON otherwise.

    Libraries are heard from WARNING on.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    renderer: Processor = (
        _to_json if as_json else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Writer(out),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The structlog processor that takes secrets out of an event, by the name of the value and by its form."""
    del logger, method
    return {name: _redact(value, name) for name, value in event.items()}


def redact_text(text: str) -> str:
    """`text` without anything that has the form of a secret."""
    if _HINT.search(text) is None:
        return text
    for pattern, replacement in _SENSITIVE_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _redact(value: Any, name: str = "") -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if name and _SENSITIVE_NAME.search(name):
        return REDACTED
    if isinstance(value, str | bytes):
        return redact_text(value if isinstance(value, str) else value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {str(key): _redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item) for item in value]
    # Anything else is shown as what it says of itself; a Secret says nothing.
    return redact_text(str(value) if isinstance(value, BaseException) else repr(value))


def _to_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    del logger, method
    return msgspec.json.encode(event).decode()


class _Writer:
    """Writes finished lines. A stream that is gone or full must not fail the work that is being logged."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            return

    log = debug = info = warn = warning = error = critical = fatal = failure = exception = msg


# The last two are PostgreSQL's: SQLSTATE 57 (shutting down, starting up) and 08 (connection lost).
_OUTAGES = {"OSError", "ConnectionError", "TimeoutError", "OperatorInterventionError", "PostgresConnectionError"}


class _Forward(logging.Handler):
    """Records of the standard library, sent down the same chain."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.DEBUG else logging.INFO
        error = record.exc_info[1] if record.exc_info else None
        # A library's trace of a server being away tells nothing that the error itself does not. By name, because
        # several libraries have a ConnectionError of their own.
        if _OUTAGES & {kind.__name__ for kind in type(error).__mro__}:
            details: dict[str, Any] = {"why": f"{type(error).__name__}: {error}"}
        else:
            details = {"exc_info": record.exc_info}
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, **details)
