"""L2: the tier in Redis. Addresses, the connection, its time limits, coalescing; the only code that talks to Redis.

``sentinels``, ``cluster``, ``cluster_store`` and ``survey`` bring redis-py: who needs them imports them by name.
"""

from cacheclient.remote.address import SCHEMES, Address, Target, TlsFiles, parse, read_secret
from cacheclient.remote.encryption import context
from cacheclient.remote.lane import Lane
from cacheclient.remote.lanes import Lanes
from cacheclient.remote.limits import LimitStore, LocalLimits, RedisLimits
from cacheclient.remote.link import Connection, Link, info_fields
from cacheclient.remote.locks import Attempt, Holder, LocalLocks, LockStore, RedisLocks
from cacheclient.remote.memory import redis_memory
from cacheclient.remote.no_store import NoStore
from cacheclient.remote.pipe import Login, Pipe
from cacheclient.remote.protocol import Held, Leased, Store, Take, fetched
from cacheclient.remote.records import LocalRecords, Records, RedisRecords
from cacheclient.remote.scan import END, SCAN_COUNT, Step
from cacheclient.remote.store import RedisStore
from cacheclient.remote.topology import FixedTopology, Topology

__all__ = [
    "END", "SCAN_COUNT", "SCHEMES", "Address", "Attempt", "Connection", "FixedTopology",
    "Held", "Holder", "Lane", "Lanes", "Leased", "LimitStore", "Link", "LocalLimits", "LocalLocks", "LocalRecords",
    "LockStore", "Login", "NoStore", "Pipe", "Records", "RedisLimits", "RedisLocks", "RedisRecords", "RedisStore",
    "Step", "Store", "Take", "Target", "TlsFiles", "Topology", "context", "fetched",
    "info_fields", "parse", "read_secret", "redis_memory",
]  # fmt: skip
