"""The failures of the drill, and which alerts must see each."""

from __future__ import annotations

from typing import Final

from tests.alert_drill.causes import data, schedules, sentinels, servers
from tests.alert_drill.causes.callers import clients_hung, restless, storm, two_versions
from tests.alert_drill.causes.model import Cause, traffic
from tests.alert_drill.client import Mode

__all__ = ["CAUSES", "NOT_LIVE", "Cause"]

CAUSES: Final = (
    Cause("misses", ("CacheHitRateLow", "CacheHitRateBelowTarget", "CacheL1HitRateBelowTarget",
                     "CacheL2HitRateBelowTarget"), traffic(Mode.MISSES)),
    Cause("slow loader", ("CacheLookupP95High", "CacheLatencyBudgetBurnsFast"), traffic(Mode.SLOW)),
    Cause("failing loader", ("CacheLoaderFailing", "CacheErrorsHigh", "CacheErrorBudgetBurnsFast"),
          traffic(Mode.FAILING)),
    Cause("lock kept", ("CacheLockTimeouts",), traffic(Mode.LOCKING)),
    Cause("event loop blocked", ("CacheInvalidationSlow",), traffic(Mode.BLOCKING)),
    Cause("invalidated before the commit", ("CacheInconsistent", "CacheInconsistencyRising"), traffic(Mode.TOO_EARLY)),
    Cause("storm of writes", ("CachePushStorm",), storm),
    Cause("tuning without patience", ("CacheTunerFlapping",), restless),
    Cause("two versions", ("CacheVersionSkew",), two_versions),
    Cause("clients hung", ("CacheTargetDown", "CacheMetricsAbsent"), clients_hung),
    Cause("replica killed", ("RedisDown", "RedisReplicasMissing"), servers.replica_killed),
    Cause("replicas killed", ("RedisNoReplicas", "RedisWriteRefused", "RedisWritesFailing"), servers.replicas_killed),
    Cause("replica hung", ("RedisReplicationLagHigh", "RedisBacklogNearlyExhausted"), servers.replica_hung),
    Cause("replica locked out", ("RedisReplicaLinkDown",), servers.replica_locked_out),
    Cause("replica restarts", ("RedisRestarted", "RedisCrashLooping", "RedisFullResyncStorm"),
          servers.replica_restarts),
    Cause("second master", ("RedisTooManyMasters",), servers.second_master),
    Cause("master killed", ("RedisFailover",), servers.master_killed),
    Cause("failovers in a row", ("RedisFailoverFlapping",), servers.handed_over_again_and_again),
    Cause("all Redis killed", ("RedisMasterMissing", "RedisFailoverStuck", "CacheL2Unreachable",
                               "CacheListenerDisconnected", "CacheRateLimitBlind"), servers.all_redis_killed,
          after=("CacheOutageTooLong",)),
    Cause("sentinel killed", ("RedisSentinelDown", "RedisSentinelQuorumAtRisk"), sentinels.one_killed),
    Cause("sentinels killed", ("RedisSentinelQuorumLost",), sentinels.two_killed),
    Cause("sentinel hung", ("RedisSentinelTilt",), sentinels.hung),
    Cause("sentinel misled", ("RedisSentinelsDisagreeOnMaster",), sentinels.misled),
    Cause("sentinel replaced", ("RedisSentinelStalePeers",), sentinels.replaced),
    Cause("exporters stopped", ("RedisMetricsAbsent", "RedisSentinelMetricsAbsent"), servers.exporters_stopped),
    Cause("target forgotten", ("RedisTargetsMissing",), servers.target_forgotten),
    Cause("memory unbounded", ("RedisMaxmemoryUnset",), data.memory_unbounded),
    Cause("memory full", ("RedisMemoryHigh", "RedisEvictingTooFast"), data.memory_full),
    Cause("memory in pieces", ("RedisFragmented",), data.memory_in_pieces),
    Cause("connections leaked", ("RedisConnectionsHigh", "RedisConnectionsNearLimit"), servers.connections_leaked,
          after=("RedisRejectedConnections",)),
    Cause("disk full", ("RedisAofWriteFailing", "RedisRdbSaveFailing", "RedisAofRewriteFailing"), data.disk_full,
          why_not=data.lacks_root),
    Cause("disk slow", ("RedisFsyncDelayed",), data.disk_slow, why_not=data.lacks_strace),
    Cause("saves forgotten", ("RedisRdbStale",), data.saves_forgotten),
    Cause("script blocks", ("RedisSlowEvent",), servers.script_blocks),
    Cause("jobs fail", ("RedisBackupMissed", "RedisBackupOverdue", "RedisRestoreDrillMissed", "CacheFullWarmUpMissed",
                        "CacheHotWarmUpMissed"), schedules.jobs_fail, why_not=schedules.lacks_store),
)  # fmt: skip
# What the drill would have to wait for, although its times are 30 times shorter.
NOT_LIVE: Final = {
    "RedisBackupNever": "waits seven hours",
    "RedisRestoreDrillNever": "waits eight days",
    "CacheWarmUpNever": "waits 25 hours",
    "CacheLatencyBudgetBurnsSlowly": "looks back three days",
    "CacheErrorBudgetBurnsSlowly": "looks back three days",
}
