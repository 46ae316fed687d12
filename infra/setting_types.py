r"""What a single value of a stack file may be: a type, its range or pattern, and what is allowed, in words.

Patterns end in ``\Z``: ``$`` would let a name end in a newline.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text of at least one character")]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z",
        description="a Kubernetes name: up to 63 lower-case letters, digits and hyphens, no hyphen at either end",
    ),
]
OptionalName = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?\Z",
        description="a Kubernetes name, or empty for the cluster's default",
    ),
]
Names = Annotated[tuple[Name, ...], Meta(description="a list of Kubernetes names")]
_LABEL: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
Labels = Annotated[
    dict[
        Annotated[str, Meta(pattern=rf"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}\Z")],
        Annotated[str, Meta(pattern=rf"^({_LABEL})?\Z")],
    ],
    Meta(description="a map from label names to label values such as {release: prometheus}, as Kubernetes allows them"),
]
Limits = Annotated[
    dict[str, Annotated[float, Meta(gt=0)]],
    Meta(description="a map from limits to numbers above 0, such as {hitRate: 0.5}"),
]
Size = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,5}(Mi|Gi|Ti)\Z",
        description="a whole number followed by Mi, Gi or Ti, such as 512Mi",
    ),
]
Cpu = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,5}m?\Z",
        description='CPU cores as a text: thousandths such as 500m, or whole cores such as "2"',
    ),
]
Image = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._/:-]*:(?!latest(@|$))[A-Za-z0-9_][A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?\Z",
        description="an image with a fixed tag (not latest), such as redis:7.2.16, better with its @sha256: digest",
    ),
]
PullPolicy = Annotated[Literal["Always", "IfNotPresent"], Meta(description="Always or IfNotPresent")]
Seconds = Annotated[int, Meta(ge=1, le=3600, description="whole seconds, 1 to 3600")]
Price = Annotated[float, Meta(ge=0, le=1_000_000, description="US dollars as a number, 0 to 1000000")]
Interval = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}s\Z", description="1s to 999s, such as 15s")]
RedisCount = Annotated[int, Meta(ge=2, le=9, description="a whole number, 2 to 9")]
SentinelCount = Annotated[int, Meta(ge=3, le=9, description="a whole number, 3 to 9")]
Clients = Annotated[int, Meta(ge=32, le=60000, description="a whole number, 32 to 60000")]
PortNumber = Annotated[int, Meta(ge=1, le=65535, description="a TCP port, 1 to 65535")]
HitRate = Annotated[float, Meta(ge=0, le=1, description="a share of lookups, 0 to 1, such as 0.8")]
Lookups = Annotated[int, Meta(ge=1, le=1_000_000_000, description="a whole number, 1 to 1000000000")]
PriorityValue = Annotated[int, Meta(ge=0, le=1_000_000_000, description="a whole number, 0 to 1000000000")]
UpToNine = Annotated[int, Meta(ge=0, le=9, description="a whole number, 0 to 9")]
SavePoints = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5} [1-9][0-9]{0,8}\Z")], ...],
    Meta(description='a list of "SECONDS CHANGES" pairs, such as ["60 1000"]; [] for no snapshots'),
]
KeyPatterns = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[!-?A-~]+\Z")], ...],
    Meta(min_length=1, description='a list of key patterns without spaces or @, such as ["profiles:*"]'),
]
Version = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,63}\Z",
        description="a text of 1 to 63 letters, digits, dots, hyphens and underscores",
    ),
]
WebAddress = Annotated[str, Meta(pattern=r"^(https?://[^ ]+)?\Z", description="an http(s) URL, or empty for none")]
Days = Annotated[int, Meta(ge=1, le=3650, description="whole days, 1 to 3650")]
Backups = Annotated[int, Meta(ge=1, le=100000, description="a whole number, 1 to 100000")]
Cron = Annotated[
    str,
    Meta(
        pattern=r"^[0-9*/,-]+( [0-9*/,A-Z-]+){4}\Z",
        description='five cron fields (minute hour day month weekday, UTC), such as "0 */6 * * *"',
    ),
]
OptionalImage = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9][a-z0-9._/:-]*:(?!latest(@|$))[A-Za-z0-9_][A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?)?\Z",
        description="an image with a fixed tag (not latest), better with its @sha256: digest, or empty",
    ),
]
OptionalBucket = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])?\Z",
        description="a bucket: 3 to 63 lower-case letters, digits, dots and hyphens, or empty",
    ),
]
Prefix = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?\Z",
        description="names of A-Z a-z 0-9 . _ - separated by single slashes, or empty",
    ),
]
Endpoint = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?)?\Z",
        description="http(s)://host[:port], such as https://storage.googleapis.com, or empty for AWS",
    ),
]
Region = Annotated[str, Meta(pattern=r"^[a-z0-9-]*\Z", description="a region such as eu-central-1, or empty")]
KeyId = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z",
        description="the name of a key in the Secret: up to 64 of A-Z a-z 0-9 . _ -, or empty",
    ),
]
Compression = Annotated[Literal["none", "zstd"], Meta(description="none or zstd")]
Cidrs = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}\Z")], ...],
    Meta(min_length=1, description='a list of address ranges, such as ["0.0.0.0/0"]'),
]
Ports = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=65535)], ...],
    Meta(min_length=1, description="a list of TCP ports, such as [5432, 443]"),
]
Spread = Annotated[Literal["hard", "soft"], Meta(description="hard or soft")]
Password = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{16,512}\Z", description="16 or more of A-Z a-z 0-9 _ -")]
Requests = Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number, 0 to 1000000; 0 for no limit")]
CacheNamespace = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_.-]{0,63}\Z",
        description="a cache namespace: a lower-case letter, then up to 63 of a-z 0-9 _ . -",
    ),
]
CacheVersion = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1")]
Entries = Annotated[int, Meta(ge=0, le=100_000_000, description="a whole number, 0 to 100000000")]
LongSeconds = Annotated[int, Meta(ge=1, le=86_400, description="whole seconds, 1 to 86400 (a day)")]
Staleness = Annotated[int, Meta(ge=1, le=60, description="whole seconds, 1 to 60")]
PodCount = Annotated[int, Meta(ge=1, le=100, description="a whole number, 1 to 100")]
OptionalText = Annotated[str, Meta(pattern=r"^[!-~]*\Z", description="a text without spaces, or empty")]
