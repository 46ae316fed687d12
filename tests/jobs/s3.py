"""A real S3 server (SeaweedFS) for whoever needs a bucket."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.jobs.storage import Location

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

START: Final = 60.0
_numbers = count(1)


def weed() -> str:
    """Return where the server is, or would be."""
    return shutil.which("weed") or str(Path(sys.executable).with_name("weed"))


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class S3:
    """A SeaweedFS process with one account; each test takes a bucket of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = self.account("right", "AKIATEST", secrets.token_hex(16))
        secret = (self.credentials / "secret-access-key").read_text().strip()
        account = {"accessKey": "AKIATEST", "secretKey": secret}
        config = {"identities": [{"name": "test", "credentials": [account], "actions": ["Admin"]}]}
        (folder / "s3.json").write_text(json.dumps(config))
        (folder / "data").mkdir()
        self._ports = free_ports(8)
        self.port = self._ports[6]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def account(self, name: str, key: str, secret: str) -> Path:
        """Write a folder of credentials, as a Secret is mounted."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "access-key-id").write_text(key)
        (folder / "secret-access-key").write_text(f"{secret}\n")
        return folder

    def start(self, weed: str) -> None:
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        ports = dict(zip((*names, "s3.port", "s3.port.grpc"), self._ports, strict=True))
        flags = {
            **ports,
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": self.folder / "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "volume.max": 2000,  # each bucket takes several
            "master.volumeSizeLimitMB": 64,
            "master.volumePreallocate": "false",
            "filer": "true",
            "s3": "true",
            "master.telemetry": "false",
        }
        command = [weed, "server", *(f"-{name}={value}" for name, value in flags.items())]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START
        while True:
            try:
                self.client().create_bucket(Bucket="first")
            except Exception:  # noqa: BLE001  whatever a server that is half up answers
                assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, "the S3 server does not come up"
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def location(self, bucket: str, **changed: Any) -> Location:
        plain = {"bucket": bucket, "endpoint": self.endpoint, "credentials": self.credentials}
        return Location(**{**plain, **changed})

    def client(self) -> S3Client:
        return self.location("first", seconds=2.0).client()

    def bucket(self) -> str:
        name = f"bucket-{next(_numbers)}"
        self.client().create_bucket(Bucket=name)
        return name
