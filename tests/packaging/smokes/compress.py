"""The extra `compress`: both algorithms, and what Redis holds is smaller."""

from __future__ import annotations

import sys

import redis

from cacheclient import Cache
from cacheclient.codec import Compressed, MsgpackCodec

if __name__ == "__main__":
    for algorithm in ("zstd", "lz4"):
        codec = Compressed(MsgpackCodec(str), algorithm)
        with Cache.from_url(sys.argv[1], namespace=algorithm, type=str, codec=codec) as cache:
            cache.set("k", "long " * 1000)
            assert cache.get("k") == "long " * 1000
        with redis.Redis.from_url(sys.argv[1]) as client:
            assert client.strlen(f"{algorithm}:v1:k") < 500
