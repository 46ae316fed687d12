"""The extra `crypto`: what Redis holds is not what was stored, and comes back."""

from __future__ import annotations

import sys

import redis

from cacheclient import Cache
from cacheclient.codec import Encrypted, MsgpackCodec

if __name__ == "__main__":
    codec = Encrypted(MsgpackCodec(str), {"2026": bytes(range(32))}, "2026")
    with Cache.from_url(sys.argv[1], namespace="crypto", type=str, codec=codec) as cache:
        cache.set("k", "nobody reads this")
        assert cache.get("k") == "nobody reads this"
    with redis.Redis.from_url(sys.argv[1]) as client:
        (stored,) = (client.get(key) for key in client.keys("crypto:v1:k"))
    assert b"nobody" not in stored
