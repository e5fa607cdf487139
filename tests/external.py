"""The whole suite against servers by URL: Debian's PostgreSQL and Redis, started here on 127.0.0.1 and stopped again.

    poe test-by-url [arguments for pytest]

What is missing is installed by apt-get, for which it must be run as root.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {"redis-server": "redis-server", "initdb": "postgresql"}


def program(name: str) -> Path | None:
    """Debian keeps PostgreSQL's own programs out of the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = shutil.which(name)
    return newest[-1] if newest else Path(found) if found else None


def install() -> None:
    missing = sorted({package for name, package in PACKAGES.items() if program(name) is None})
    if not missing:
        return
    print(f"Installing {' and '.join(missing)} ...", flush=True)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(("apt-get", "update", "-q"), check=True, env=environ, stdout=subprocess.DEVNULL)
    subprocess.run(
        ("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing),
        check=True,
        env=environ,
        stdout=subprocess.DEVNULL,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres(folder: Path, owner: str | None) -> Iterator[str]:
    initdb, control = program("initdb"), program("pg_ctl")
    assert initdb is not None
    assert control is not None
    port, password, data = free_port(), secrets.token_urlsafe(18), folder / "postgres"
    (folder / "password").write_text(password)
    for path in (folder, folder / "password"):
        if owner is not None:
            shutil.chown(path, owner)

    def as_owner(*command: str | Path) -> None:
        subprocess.run(command, user=owner, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    as_owner(
        initdb, "-D", data, "-U", "tester", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8"
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off -c max_connections=200"
    log = folder / "postgres.log"
    as_owner(control, "-D", data, "-l", log, "-w", "-o", options, "start")
    try:
        yield f"postgresql://tester:{password}@127.0.0.1:{port}/postgres"
    finally:
        as_owner(control, "-D", data, "-m", "immediate", "stop")


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    server = program("redis-server")
    assert server is not None
    port, password = free_port(), secrets.token_urlsafe(18)
    configuration = f"port {port}\nbind 127.0.0.1\nrequirepass {password}\nsave ''\ndir {folder}\n"
    process = subprocess.Popen((server, "-"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(configuration)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    install()
    # PostgreSQL does not run as root; its package brings a user for it.
    owner = pwd.getpwnam("postgres").pw_name if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="penguin-external-"))
    try:
        with postgres(folder, owner) as database_url, redis(folder) as redis_url:
            urls = {"PENGUIN_TEST_DATABASE_URL": database_url, "PENGUIN_TEST_REDIS_URL": redis_url}
            tests = subprocess.run(
                (sys.executable, "-m", "pytest", *sys.argv[1:]), env={**os.environ, **urls}, check=False
            )
            return tests.returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
