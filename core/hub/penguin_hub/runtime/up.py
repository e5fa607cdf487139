"""`penguin up`: a whole hub on one machine, from nothing to ready and back."""

import asyncio
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog

from penguin_hub import settings as settings_module
from penguin_hub.platform.embedded import DataFolder, Postgres, Sample, Server, StartupError, Valkey
from penguin_hub.platform.embedded.folder import private_folder
from penguin_hub.runtime import ports, readiness
from penguin_hub.runtime.child import Child
from penguin_hub.runtime.supervisor import Supervisor, together
from penguin_hub.settings import Settings

log = structlog.get_logger(__name__)

READY_SECONDS = 60.0
API_STOP_SECONDS = 8.0
WORKER_STOP_SECONDS = 32.0
"""More than a delivery may take, so that what is under way ends and is written."""


class Dashboard(msgspec.Struct, frozen=True):
    url: str
    email: str
    password: str


class Ready(msgspec.Struct, frozen=True):
    """What `penguin up --json` prints, in this order."""

    ready: bool
    url: str
    tenant: str
    workspace: str
    live_key: str
    test_key: str
    dashboard: Dashboard

    @classmethod
    def of(cls, url: str, sample: Sample) -> "Ready":
        dashboard = Dashboard(f"{url}/dashboard", sample.email, sample.password)
        return cls(True, url, sample.tenant, sample.workspace, sample.live_key, sample.test_key, dashboard)


async def up(data: Path, host: str, port: int, environ: Mapping[str, str], *, as_json: bool) -> None:
    """Run a hub until SIGTERM, SIGINT or SIGHUP. Raises StartupError and the errors of settings and migration."""
    hub = Hub(DataFolder(data), host, port, environ)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(hub.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return
        ready = starting.result()
        _say(msgspec.json.encode(ready).decode() if as_json else _banner(ready, hub.home.path))
        stopping.add_done_callback(lambda _: hub.supervisor.end())
        await hub.supervisor.run()
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await hub.stop()


class Hub:
    def __init__(self, home: DataFolder, host: str, port: int, environ: Mapping[str, str]) -> None:
        self.home = home
        self.supervisor = Supervisor()
        self._host = host
        self._port = port
        self._environ = environ

    async def start(self) -> Ready:
        self.home.prepare()
        self.home.lock()
        port = ports.claim(self._host, self._port)
        url = ports.base_url(self._host, port)
        environ = {"PENGUIN_PUBLIC_URL": url, **self._environ, "PENGUIN_DATA": str(self.home.path)}
        settings = await self._servers(environ)
        await self._migrate(settings)
        await self._processes(port, environ)
        # While the processes import what they need.
        sample = await self._sample(settings)
        await self._ready(url)
        return Ready.of(url, sample)

    async def stop(self) -> None:
        await self.supervisor.stop()
        if self.home.is_locked:
            (self.home.path / "run.json").unlink(missing_ok=True)
            self.home.forget_sockets()
            self.home.unlock()

    async def _servers(self, environ: Mapping[str, str]) -> Settings:
        """Start what the environment does not name; leave word for other commands on this folder."""
        database_url, redis_url = environ.get("DATABASE_URL"), environ.get("REDIS_URL")
        servers: list[Server] = []
        if not (database_url and redis_url):
            credentials = self.home.credentials()
            if not database_url:
                postgres = Postgres(self.home, credentials.postgres_password)
                database_url = postgres.url
                servers.append(postgres)
            if not redis_url:
                valkey = Valkey(self.home, credentials.valkey_password)
                redis_url = valkey.url
                servers.append(valkey)
        # Refuses what is wrong with the environment before anything is started.
        settings = settings_module.build(environ, data=self.home.path, database_url=database_url, redis_url=redis_url)
        for server in servers:
            self.supervisor.add(server)
        starting = asyncio.create_task(together(servers))
        await asyncio.sleep(0)
        # Half a second of imports, while the servers start.
        from penguin_hub import migrate  # noqa: PLC0415 -- see above

        del migrate
        await starting
        if environ.get("REDIS_URL"):
            await self._check_redis(redis_url)
        self.home.write("run.json", msgspec.json.encode({"database_url": database_url, "redis_url": redis_url}))
        return settings

    async def _check_redis(self, url: str) -> None:
        from penguin_hub.platform.redis import Redis, RedisUnavailable  # noqa: PLC0415 -- only for a server by URL

        redis = Redis(url)
        try:
            await redis.call("PING")
        except RedisUnavailable as error:
            where = urlsplit(url).hostname or urlsplit(url).path
            why = error.__cause__ or error
            raise StartupError(
                f"Redis at {where} cannot be used ({type(why).__name__}): is it running, and is REDIS_URL right?"
            ) from error
        finally:
            await redis.close()

    async def _migrate(self, settings: Settings) -> None:
        from penguin_hub.migrate import migrate  # noqa: PLC0415 -- imported by now

        await migrate(settings)

    async def _sample(self, settings: Settings) -> Sample:
        """The sample tenant: the one of the last start, or a new one."""
        from penguin_hub.runtime import sample  # noqa: PLC0415 -- imports the services it calls

        credentials = self.home.credentials()
        found = credentials.sample
        if found is None or not await sample.exists(settings, found):
            found = await sample.create(settings)
            self.home.keep(msgspec.structs.replace(credentials, sample=found))
        return found

    async def _processes(self, port: int, environ: Mapping[str, str]) -> None:
        # Both processes count into files of one folder, so that /metrics speaks for both; the last run's are past.
        counts = self.home.path / "metrics"
        shutil.rmtree(counts, ignore_errors=True)
        environ = {**environ, "PROMETHEUS_MULTIPROC_DIR": str(private_folder(counts))}
        api = ("serve", "--host", self._host, "--port", str(port), "--reuse-port")
        for child in (
            Child("worker", ("worker",), environ, stop_seconds=WORKER_STOP_SECONDS),
            Child("api", api, environ, stop_seconds=API_STOP_SECONDS),
        ):
            self.supervisor.add(child)
            await child.start()

    async def _ready(self, url: str) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while await readiness.status(f"{url}/readyz") != 200:
                    ended = self.supervisor.first_ended()
                    if ended is not None:
                        raise StartupError(f"The {ended} process ended while it started; the lines above say why.")
                    await asyncio.sleep(readiness.POLL_SECONDS)
        except TimeoutError:
            raise StartupError(
                f"The hub is not ready after {READY_SECONDS:.0f} s: {url}/readyz says what it waits for."
            ) from None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _banner(ready: Ready, data: Path) -> str:
    return f"""
  PenguinMails Integration Hub is ready.

    API        {ready.url}/api/v1
    Reference  {ready.url}/api/docs
    Dashboard  {ready.dashboard.url}   ({ready.dashboard.email} / {ready.dashboard.password})
    Data       {data}

    Live key   {ready.live_key}
    Test key   {ready.test_key}   (nothing leaves this machine)

    Try        curl -H "Authorization: Bearer {ready.test_key}" {ready.url}/api/v1/contacts
    Stop       Ctrl-C
"""
