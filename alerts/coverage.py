"""Which alert speaks when others fall silent, because the series that they read have ended with their target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cacheclient.contract import Job, Loss

COVERED: Final[Mapping[tuple[Job, Loss], str]] = {
    (Job.REDIS, Loss.UNLISTED): "RedisMetricsAbsent",  # and RedisTargetsMissing, if not all of them are
    (Job.REDIS, Loss.UNSCRAPED): "RedisDown",
    (Job.REDIS, Loss.UNANSWERED): "RedisDown",
    (Job.SENTINEL, Loss.UNLISTED): "RedisSentinelMetricsAbsent",
    (Job.SENTINEL, Loss.UNSCRAPED): "RedisSentinelDown",
    (Job.SENTINEL, Loss.UNANSWERED): "RedisSentinelDown",
    (Job.API, Loss.UNLISTED): "CacheMetricsAbsent",
    (Job.API, Loss.UNSCRAPED): "CacheTargetDown",
}
