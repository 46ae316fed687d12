"""The metrics of redis_exporter that rules and panels read."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Exporter(StrEnum):
    """Metrics of redis_exporter (1.45 or newer) that rules and panels read; tests hold them against a real scrape."""

    UP = "redis_up"
    UPTIME = "redis_uptime_in_seconds"
    INSTANCE_INFO = "redis_instance_info"
    CLIENTS = "redis_connected_clients"
    CLIENTS_BLOCKED = "redis_blocked_clients"
    CONNECTIONS_REJECTED = "redis_rejected_connections_total"
    MEMORY_USED = "redis_memory_used_bytes"
    MEMORY_MAX = "redis_memory_max_bytes"
    MEMORY_RSS = "redis_memory_used_rss_bytes"
    MEMORY_PEAK = "redis_memory_used_peak_bytes"
    MEMORY_DATASET = "redis_memory_used_dataset_bytes"
    MEMORY_OVERHEAD = "redis_memory_used_overhead_bytes"
    FRAGMENTATION_RATIO = "redis_mem_fragmentation_ratio"
    FRAGMENTATION_BYTES = "redis_mem_fragmentation_bytes"
    EVICTED = "redis_evicted_keys_total"
    EXPIRED = "redis_expired_keys_total"
    KEYSPACE_HITS = "redis_keyspace_hits_total"
    KEYSPACE_MISSES = "redis_keyspace_misses_total"
    KEYS = "redis_db_keys"
    KEYS_EXPIRING = "redis_db_keys_expiring"
    COMMANDS = "redis_commands_total"
    COMMANDS_SECONDS = "redis_commands_duration_seconds_total"
    ERRORS = "redis_errors_total"
    SLOWLOG_LAST_ID = "redis_slowlog_last_id"
    SPIKE_TIME = "redis_latency_spike_last"
    SPIKE_SECONDS = "redis_latency_spike_duration_seconds"
    FORK_SECONDS = "redis_latest_fork_seconds"
    NET_INPUT = "redis_net_input_bytes_total"
    NET_OUTPUT = "redis_net_output_bytes_total"
    CPU_USER = "redis_cpu_user_seconds_total"
    CPU_SYS = "redis_cpu_sys_seconds_total"
    RDB_STATUS = "redis_rdb_last_bgsave_status"
    RDB_SAVE_TIME = "redis_rdb_last_save_timestamp_seconds"
    RDB_CHANGES = "redis_rdb_changes_since_last_save"
    RDB_COW_BYTES = "redis_rdb_last_cow_size_bytes"
    AOF_ENABLED = "redis_aof_enabled"
    AOF_WRITE_STATUS = "redis_aof_last_write_status"
    AOF_REWRITE_STATUS = "redis_aof_last_bgrewrite_status"
    AOF_SIZE = "redis_aof_current_size_bytes"
    AOF_DELAYED_FSYNC = "redis_aof_delayed_fsync"
    REPLICAS = "redis_connected_slaves"
    REPLICA_LAG_SECONDS = "redis_connected_slave_lag_seconds"
    REPLICA_OFFSET = "redis_connected_slave_offset_bytes"
    REPLICATION_OFFSET = "redis_master_repl_offset"
    BACKLOG_BYTES = "redis_replication_backlog_bytes"
    MASTER_LINK_UP = "redis_master_link_up"
    FULL_RESYNCS = "redis_replica_resyncs_full"
    SENTINEL_MASTER_STATUS = "redis_sentinel_master_status"
    SENTINEL_QUORUM = "redis_sentinel_master_ckquorum_status"
    SENTINEL_PEERS = "redis_sentinel_master_sentinels"
    SENTINEL_PEERS_OK = "redis_sentinel_master_ok_sentinels"
    SENTINEL_REPLICAS_OK = "redis_sentinel_master_ok_slaves"
    SENTINEL_TILT = "redis_sentinel_tilt"


EXPORTER_METRICS: Final = frozenset(Exporter)
SCRAPE_SECONDS: Final = 15  # Prometheus scrapes at least this often; a rate() window of a rule holds four scrapes
