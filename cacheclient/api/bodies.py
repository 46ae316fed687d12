"""What requests and answers hold, with an example of each; ranges that JSON Schema can say are said here."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from cacheclient.events import Priority
from cacheclient.keys import MAX_ID_BYTES
from cacheclient.tags import MAX_NAME_BYTES

Kind = Literal["critical", "hot", "all"]
State = Literal["announced", "running", "done", "failed", "cancelled", "lost"]
# The plans of the warm-up, and how soon who hears of them should act.
PLANS: Final[dict[str, str]] = {"critical": "critical", "hot": "hot", "all": "full"}
PRIORITIES: Final[dict[str, Priority]] = {
    "critical": Priority.HIGH, "hot": Priority.NORMAL, "all": Priority.LOW,
}  # fmt: skip
BODY_LIMIT: Final = 32 * 1024  # bytes; a pattern of 2,048 characters has 24 KiB where each is two \u escapes
_WHAT: Final = ("key", "tag", "pattern")
BRANCHES: Final = frozenset(f"({name})" for name in _WHAT)  # which of the three a fault was found in, not a place


def _strict(**example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra={"examples": [example]})


class _Scoped(BaseModel):
    scope: Annotated[Literal["all_pods"], Field(description="every pod forgets, within a second")] = "all_pods"


class KeyInvalidation(_Scoped):
    """One key."""

    model_config = _strict(key="user:42", scope="all_pods")
    key: Annotated[
        str, Field(min_length=1, max_length=MAX_ID_BYTES, description="the id, without namespace and version")
    ]
    durable: Annotated[bool, Field(description="also wait until every replica has it")] = False


class TagInvalidation(_Scoped):
    """All entries that carry a tag: one write, however many there are."""

    model_config = _strict(tag="team:7", scope="all_pods")
    tag: Annotated[str, Field(min_length=1, max_length=MAX_NAME_BYTES)]


class PatternInvalidation(_Scoped):
    """All entries whose ids match a glob."""

    model_config = _strict(pattern="user:42:*", scope="all_pods")
    pattern: Annotated[str, Field(min_length=1, max_length=2048, description="a glob over ids: *, ?, [a-z]")]


def _kind(body: Any) -> str | None:
    """Return which of the three a body is: the one of whose fields it has exactly one."""
    given = body if isinstance(body, dict) else getattr(body, "__dict__", {})
    found = [name for name in _WHAT if name in given]
    return f"({found[0]})" if len(found) == 1 else None


Invalidation = Annotated[
    Annotated[KeyInvalidation, Tag("(key)")]
    | Annotated[TagInvalidation, Tag("(tag)")]
    | Annotated[PatternInvalidation, Tag("(pattern)")],
    Discriminator(
        _kind,
        custom_error_type="one_of",
        custom_error_message="an object with exactly one of key, tag and pattern",
    ),
]


class Invalidated(BaseModel):
    """What an invalidation did."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"pattern": "user:42:*", "scope": "all_pods", "acknowledged": True, "entries": 3}]
        }
    )
    key: str | None = None
    tag: str | None = None
    pattern: str | None = None
    scope: Literal["all_pods"] = "all_pods"
    acknowledged: Annotated[bool, Field(description="whether Redis has it; if not, it is sent until it gets through")]
    entries: Annotated[int | None, Field(description="how many Redis had; null where that is not counted")] = None


class Prewarm(BaseModel):
    """Which entries to load before they are asked for."""

    model_config = _strict(type="hot", **{"async": True})
    type: Annotated[Kind, Field(description="critical, hot, or all: the plan full")]
    async_: Annotated[bool, Field(alias="async", description="answer at once, or wait up to half a minute")] = True
    priority: Annotated[
        Literal["high", "normal", "low"] | None,
        Field(description="how soon; by default high for critical, normal for hot, low for all"),
    ] = None


class Job(BaseModel):
    """A pre-warm that was asked for. Times are Unix seconds."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "5f1c0c7e9a6b4f6f8f2a7f0f5f9b1a2c", "type": "hot", "plan": "hot", "priority": "normal",
                    "state": "done", "created": 1790000000.1, "updated": 1790000004.2, "pod": "cache-api-7d9c",
                    "report": {"loaded": 900}, "problem": None,
                }
            ]
        },
    )  # fmt: skip
    id: str
    type: Kind
    plan: str
    priority: Priority
    state: Annotated[State, Field(description="announced: every pod that registered for pre-warms was told to act")]
    created: float
    updated: float
    pod: str
    report: dict[str, Any] | None = None
    problem: str | None = None


class TierFigures(BaseModel):
    """Figures of one tier, of this process."""

    model_config = ConfigDict(extra="allow")
    hit_rate: Annotated[float | None, Field(ge=0, le=1, description="null before the first lookup")]
    size_mb: float
    entries: int


class CombinedFigures(BaseModel):
    """Figures of both tiers together."""

    model_config = ConfigDict(extra="allow")
    hit_rate: Annotated[float | None, Field(ge=0, le=1)]


class Figures(BaseModel):
    """Hit rates and sizes."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "l1": {"hit_rate": 0.67, "size_mb": 9.8, "entries": 10000},
                    "l2": {"hit_rate": 0.84, "size_mb": 98.1, "entries": 100000},
                    "combined": {"hit_rate": 0.948},
                }
            ]
        },
    )
    l1: TierFigures
    l2: TierFigures
    combined: CombinedFigures


EXPLAINED: Final[dict[str, Any]] = {
    "key": "user:42", "redis_key": "profile:v3:user:42", "answer": "l2", "gate_open": True, "owed": False,
    "flight": None, "refreshing": False,
    "l1": {"status": "absent", "remaining": None, "age": None, "write_id": "", "size": 0, "tags": []},
    "l2": {
        "status": "value", "expires": 1690.4, "remaining": 1690.4, "age": 109.6, "write_id": "9f3c5a1b2d4e6f70",
        "size": 1361, "codec": "msgpack", "negative": False, "kept": False, "load_time": 0.021,
        "tags": [{"name": "(namespace)", "valid": True}], "problem": "",
    },
}  # fmt: skip
