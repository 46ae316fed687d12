"""The bucket: S3, or any store that speaks its protocol (GCS, MinIO, SeaweedFS, Ceph ...) at an endpoint.

Every call is bounded: time-outs on connecting and on each answer, a few retries, and errors as one sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.jobs.errors import JobError, UsageError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

PART: Final = 16 * 1024 * 1024
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
ATTEMPTS: Final = 4
_MANIFEST_MAX: Final = 1024 * 1024
_LIFECYCLE_ID: Final = "cachestack-backups"
_ETAG: Final = re.compile(r'"([0-9a-f]{32}(?:-\d+)?)"')
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_SHA256: Final = "sha256"  # name of the object's metadata

_MEANINGS: Final = {
    "InvalidAccessKeyId": "the store does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "AccessDenied": "the credentials do not allow this",
    "403": "the credentials are wrong, or do not allow this",
    "NoSuchBucket": "the bucket does not exist",
    "404": "there is no such object",
    "NoSuchKey": "there is no such object",
}


class StorageError(JobError):
    """The object store refused, did not answer, or answered with something else than was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A bucket and how to reach it. Empty ``endpoint``: AWS; empty ``credentials``: boto3's own search.

    Raises:
        UsageError: naming the field and what is allowed.
    """

    bucket: str
    endpoint: str = ""
    region: str = ""
    credentials: Path | None = None
    seconds: float = ANSWER_SECONDS

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise UsageError(f"bucket {self.bucket!r}: 3 to 63 lower-case letters, digits, dots and hyphens")
        if self.endpoint and not re.fullmatch(r"https?://[^/\s]+", self.endpoint):
            raise UsageError(f"endpoint {self.endpoint!r}: http(s)://host[:port], or empty for AWS")

    def client(self) -> S3Client:
        """Return a boto3 client. Off AWS, no checksums of AWS' newer kind: other stores refuse uploads with them."""
        config = Config(
            connect_timeout=min(CONNECT_SECONDS, self.seconds),
            read_timeout=self.seconds,
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
            request_checksum_calculation="when_required" if self.endpoint else "when_supported",
            response_checksum_validation="when_required" if self.endpoint else "when_supported",
            s3={"addressing_style": "path" if self.endpoint else "auto"},
            user_agent_extra="cachestack",
        )
        session = boto3.session.Session(
            aws_access_key_id=self._credential("access-key-id"),
            aws_secret_access_key=self._credential("secret-access-key"),
        )
        region = self.region or session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=self.endpoint or None, region_name=region, config=config)

    def _credential(self, name: str) -> str | None:
        if self.credentials is None:
            return None
        try:
            return (self.credentials / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"credentials: the file {name} cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store lists it; ``modified`` is by the store's own clock."""

    key: str
    size: int
    modified: datetime


class ObjectStore:
    """The operations that backups need. All raise StorageError, with what was tried and why it failed."""

    def __init__(self, location: Location) -> None:
        self.bucket = location.bucket
        self._where = f"{location.endpoint or 's3'}/{location.bucket}"
        self._client = location.client()

    def put_file(self, key: str, path: Path, sha256: str, advance: Callable[[int], None]) -> None:
        """Upload a file, in parts if it is large, and compare what the store then says it has."""
        transfer = TransferConfig(
            multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2, num_download_attempts=ATTEMPTS
        )
        with self._told(f"upload of {key}"):
            self._client.upload_file(
                str(path),
                self.bucket,
                key,
                ExtraArgs={"Metadata": {_SHA256: sha256}},
                Config=transfer,
                Callback=advance,
            )
        self._verify(key, path, sha256)

    def _verify(self, key: str, path: Path, sha256: str) -> None:
        """Compare size, digest and ETag. An ETag counts only where it is a digest: not with KMS, not all stores'."""
        with self._told(f"check of {key}"):
            head = self._client.head_object(Bucket=self.bucket, Key=key)
        size = path.stat().st_size
        if head["ContentLength"] != size or head["Metadata"].get(_SHA256, sha256) != sha256:
            raise StorageError(f"{key}: {size} bytes were uploaded, the store has {head['ContentLength']}")
        etag = _ETAG.fullmatch(head["ETag"])
        expected = _expected_etag(path)
        plain = not str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
        if etag and plain and etag[1].count("-") == expected.count("-") and etag[1] != expected:
            raise StorageError(f"{key}: the store's digest {etag[1]} is not that of what was uploaded, {expected}")

    def put(self, key: str, content: bytes, *, seal: bool = False) -> Stored:
        """Store a small object and return it as the store has it; ``seal`` reads it back and compares."""
        with self._told(f"upload of {key}"):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=content)
            if seal and self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read() != content:
                raise StorageError(f"{key}: the store does not give back what was stored")
            head = self._client.head_object(Bucket=self.bucket, Key=key)
        return Stored(key, head["ContentLength"], head["LastModified"])

    def get_file(self, key: str, path: Path, advance: Callable[[int], None]) -> None:
        """Download an object to a file."""
        with self._told(f"download of {key}"):
            self._client.download_file(self.bucket, key, str(path), Callback=advance)

    def get(self, key: str) -> bytes:
        """Return a small object; of a larger one, its first MiB."""
        with self._told(f"download of {key}"):
            reply = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes=0-{_MANIFEST_MAX - 1}")
            return reply["Body"].read()

    def listing(self, prefix: str) -> Iterator[Stored]:
        """List the objects whose keys begin with ``prefix``."""
        with self._told(f"list of {prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    yield Stored(found["Key"], found["Size"], found["LastModified"])

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, one after the other: the batch call needs a checksum that some stores do not know."""
        for key in keys:
            with self._told(f"deletion of {key}"):
                self._client.delete_object(Bucket=self.bucket, Key=key)

    def expire_after(self, prefix: str, days: int) -> None:
        """Have the store itself delete what is older than ``days`` below ``prefix``; other rules stay."""
        rule = {
            "ID": _LIFECYCLE_ID,
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "Expiration": {"Days": days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        with self._told("lifecycle rule"):
            try:
                present = self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
            except ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
                    raise
                present = []
            rules = [other for other in present if other.get("ID") != _LIFECYCLE_ID]
            self._client.put_bucket_lifecycle_configuration(
                Bucket=self.bucket,
                LifecycleConfiguration={"Rules": [*rules, rule]},  # type: ignore[list-item]  # what was listed is put
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            meaning = _MEANINGS.get(code, error.response["Error"].get("Message", ""))
            raise StorageError(f"{what} failed at {self._where}: {meaning} ({code})") from None
        except (BotoCoreError, Boto3Error) as error:
            raise StorageError(f"{what} failed at {self._where}: {error}") from None


def _expected_etag(path: Path) -> str:
    """Return the ETag of an unencrypted object: its MD5, or that of its parts' MD5s and their number (S3)."""
    with path.open("rb") as file:
        parts = [hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: file.read(PART), b"")]
    if path.stat().st_size < PART:
        return (parts[0] if parts else hashlib.md5(b"", usedforsecurity=False).digest()).hex()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
