"""A stand-in for a Vault that answers whatever a test wants, also what a good Vault never would."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest


class Asked(msgspec.Struct):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, Any]


class StandIn:
    """Answers each request with the next prepared answer, and the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Answer | Callable[[Asked], Answer]] = []
        self.released = threading.Event()
        """Set at the end, for answers that wait."""
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                stand_in.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        asked = Asked(handler.command, handler.path, dict(handler.headers.items()), body)
        with self._lock:
            self.asked.append(asked)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status, content = answer(asked) if callable(answer) else answer
        if status == 0:  # No answer at all: the connection ends.
            handler.close_connection = True
            return
        raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        if 300 <= status < 400:
            handler.send_header("Location", f"{self.address}/stolen")
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(raw)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()
