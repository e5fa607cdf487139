"""One attempt of one delivery: signed, sent, judged."""

import time
from typing import Protocol

import msgspec
import structlog
from penguin_hub_sdk.connectors import Event
from penguin_hub_sdk.errors import PluginError
from penguin_hub_sdk.signing import signature

from penguin_hub.delivery import store_order, tokens
from penguin_hub.delivery.attempts import Detail, pack
from penguin_hub.delivery.client import SENTENCES, Answer, Client, Timings
from penguin_hub.delivery.destinations import Destination, Job
from penguin_hub.delivery.retry import Failure, judge, retry_after, succeeded
from penguin_hub.platform import clock, ids
from penguin_hub.platform.errors import HubError

log = structlog.get_logger(__name__)

TRIGGERS = ("event", "retry", "replay")
"""By lane, but for what keeps an order: there retries stay in their lane."""


class Connectors(Protocol):
    """Delivers to a tenant's connection; the connections feature is one."""

    async def deliver(self, tenant: str, connection: str, event: Event) -> None:
        """Raises PluginError, or HubError when the connection is gone or its plugin away."""
        ...


class Result(msgspec.Struct, frozen=True):
    """What came of a claimed delivery, for the settler."""

    job: Job
    destination: Destination
    kind: str
    """f finished, r retried, p a probe, b given back unsent."""
    state: str = ""
    delay: float = 0.0
    status: int | None = None
    error: str | None = None
    attempt_id: str | None = None
    duration_ms: int = 0
    detail: bytes | None = None
    disable: bool = False

    @property
    def answered(self) -> bool | None:
        """Whether the endpoint answered at all; None when nothing was sent."""
        if self.attempt_id is None:
            return None
        return self.status is not None or self.error == "rejected"

    def row(self) -> tuple[object, ...]:
        return (
            self.job.tenant, self.job.id, self.job.token, self.kind.encode(), self.state, self.delay, self.status,
            self.error, self.attempt_id, self.duration_ms, self.detail,
        )  # fmt: skip


class Sender:
    """One for the worker."""

    def __init__(self, client: Client, connectors: Connectors | None) -> None:
        self._client = client
        self._connectors = connectors

    async def attempt(self, job: Job, destination: Destination, *, probe: bool) -> Result:
        """Never raises but CancelledError."""
        settings = destination.settings
        if settings is None:
            return given_back(job, destination, 0.0)
        if not settings.active:
            return Result(job, destination, "f", "discarded", error="endpoint_disabled")
        if job.body is None:
            return Result(job, destination, "f", "discarded", error="payload_expired")
        attempt_id = ids.new("att")
        if settings.connection is not None:
            headers: dict[str, str] = {}
            answer, message, final = await self._to_connection(job, settings.connection)
        else:
            signers = destination.signers()
            if not signers:
                return Result(job, destination, "f", "discarded", error="no_signing_secret")
            now = int(clock.now().timestamp())
            headers = {
                **settings.headers,
                "webhook-id": job.message_id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(signers, job.message_id, now, job.body),
            }
            if settings.legacy is not None:
                headers[settings.legacy.header] = settings.legacy.value(job.message_id, now, job.body)
            if settings.target is None:
                answer = Answer(None, "unreachable", Timings(total=0.0))
            elif settings.tokens is not None:
                headers["authorization"] = "Bearer"
                answer = await tokens.post(self._client, settings.target, settings.tokens, headers, job.body)
            else:
                answer = await self._client.post(settings.target, headers, job.body)
            message, final = answer.note or (SENTENCES.get(answer.failure) if answer.failure else None), False
        hint = retry_after(answer.header("retry-after"), clock.now()) if answer.failure else None
        verdict = judge(answer.status, hint, tries=job.attempt + 1 - job.series, delays=settings.delays, final=final)
        kind = "r" if verdict.state == "retry" else "f"
        if probe and verdict.state != "succeeded" and not verdict.disable:
            kind = "p"
        lane = min(job.attempt, 1) if job.lane == store_order.LANE else job.lane
        trigger = "probe" if probe else TRIGGERS[lane]
        detail = Detail(
            trigger,
            tuple(
                (name, "(secret)" if name.lower() in settings.secret_headers else value)
                for name, value in headers.items()
            ),
            answer.headers,
            answer.body,
            answer.truncated,
            answer.timings,
            message,
        )
        return Result(
            job,
            destination,
            kind,
            verdict.state if kind == "f" else "",
            verdict.delay,
            answer.status,
            answer.failure,
            attempt_id,
            round(answer.timings.total),
            pack(detail),
            verdict.disable,
        )

    async def _to_connection(self, job: Job, connection: str) -> tuple[Answer, str | None, bool]:
        """A connector's delivery in the shape of an HTTP answer; the message; whether trying again is of no use."""
        started = time.perf_counter()
        failure: Failure | None = None
        message: str | None = None
        final = False
        hint: tuple[tuple[str, str], ...] = ()
        try:
            if self._connectors is None:
                raise HubError("Connections are not served by this process.")
            event = msgspec.json.decode(job.body or b"", type=Event)
            await self._connectors.deliver(job.tenant, connection, event)
        except PluginError as error:
            failure, message, final = "rejected", error.detail, not error.effect.retryable
            hint = (("retry-after", str(error.retry_after)),) if error.retry_after else ()
        except HubError as error:
            failure, message = "unavailable", error.detail
        except Exception as error:  # a plugin's own bug must not end the worker
            log.error("connector_crashed", connection=connection, exc_info=error)
            failure, message = "unavailable", "The connector failed."
        timings = Timings(total=round((time.perf_counter() - started) * 1000, 2))
        return Answer(None if failure else 200, failure, timings, hint), message, final


def given_back(job: Job, destination: Destination, delay: float) -> Result:
    """Unsent: it counts as nothing, and is due again after `delay` seconds."""
    return Result(job, destination, "b", delay=delay)


def outcome_ok(result: Result) -> bool:
    return result.attempt_id is not None and succeeded(result.status)
