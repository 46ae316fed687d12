"""Codecs: how a value becomes bytes. msgpack by default; no pickle, which would run code found in Redis.

Compression and encryption are codecs around a codec, each at most once and in this order::

    Encrypted(Compressed(MsgpackCodec(Profile), dictionary=trained), keys=keys, active="2026-11")

Each stack has an id of its own, so a cache that is configured otherwise sees a miss, never garbage.
"""

from cacheclient.codec.compression import Compressed, train
from cacheclient.codec.encryption import Encrypted
from cacheclient.codec.plain import JsonCodec, MsgpackCodec, RawCodec, for_name, parser
from cacheclient.codec.protocol import Codec, KeyedCodec, codec_name

__all__ = [
    "Codec",
    "Compressed",
    "Encrypted",
    "JsonCodec",
    "KeyedCodec",
    "MsgpackCodec",
    "RawCodec",
    "codec_name",
    "for_name",
    "parser",
    "train",
]
