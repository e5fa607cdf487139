"""A Vault for these tests: the one at VAULT_ADDR, or a `bao` or `vault` from the PATH, started in development mode."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hvac  # type: ignore[import-untyped]  # ships no types
import pytest
from penguin_hub.platform.db import Database
from penguin_hub.vault.client import VaultClient
from penguin_hub.vault.embedded import EmbeddedStore
from penguin_hub.vault.hashicorp import HashicorpStore

MISSING = "neither is VAULT_ADDR set nor is `bao` or `vault` on the PATH: the Vault half is not run"
START_SECONDS = 30


class VaultServer:
    """An address and a token that may do everything there."""

    def __init__(self, address: str, token: str, mount: str = "secret") -> None:
        self.address = address
        self.token = token
        self.mount = mount
        self.admin = hvac.Client(url=address, token=token)

    def client(self, token: str | None = None) -> VaultClient:
        return VaultClient(self.address, token=token or self.token, role_id=None, secret_id=None)

    def store(self) -> HashicorpStore:
        return HashicorpStore(self.client(), mount=self.mount)


class OwnServer(VaultServer):
    """A development server: everything in memory, on a free port of this machine only."""

    def __init__(self, binary: str, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = "root-of-the-tests"
        self._process = subprocess.Popen(
            [binary, "server", "-dev", f"-dev-root-token-id={token}", f"-dev-listen-address=127.0.0.1:{port}"],
            # The tool reads settings from HOME and writes its token there: not into a person's own.
            env={"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._said: list[str] = []
        self._unseal_key = ""
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._announced.wait(START_SECONDS) or not self._unseal_key:
            self.kill()
            raise AssertionError(f"{binary} did not start:\n" + "".join(self._said))
        super().__init__(f"http://127.0.0.1:{port}", token)

    def seal(self) -> None:
        self.admin.sys.seal()

    def unseal(self) -> None:
        self.admin.sys.submit_unseal_key(self._unseal_key)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        """Reads to the end, so that the server never waits for a full pipe. The keys are printed once it serves."""
        for line in self._process.stdout or ():
            self._said.append(line)
            found = re.match(r"Unseal Key(?: 1)?: (\S+)", line)
            if found:
                self._unseal_key = found[1]
            if line.startswith("Root Token:"):
                self._announced.set()
        self._announced.set()


def _binary() -> str:
    found = shutil.which("bao") or shutil.which("vault")
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="session")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    address = os.environ.get("VAULT_ADDR")
    if address:
        yield VaultServer(address, os.environ.get("VAULT_TOKEN", ""), os.environ.get("VAULT_MOUNT", "secret"))
        return
    server = OwnServer(_binary(), tmp_path_factory.mktemp("vault"))
    yield server
    server.kill()


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[OwnServer]:
    """One that a test may seal and kill."""
    server = OwnServer(_binary(), tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def vault_store(vault_server: VaultServer) -> AsyncIterator[HashicorpStore]:
    store = vault_server.store()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "kek.json"


@pytest.fixture
async def embedded_store(database: Database, key_file: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(database, key_file)
    await store.open()
    yield store
    await store.close()
