"""Compression and encryption around a codec: what every stack promises, and that each is known by its own id."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient.codec import Codec, Compressed, Encrypted, JsonCodec, MsgpackCodec, RawCodec, train
from cacheclient.errors import CodecError, ConfigurationError
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats

KEYS = {"2026-10": bytes(range(32)), "2026-11": bytes(range(1, 33))}
SAMPLES = [
    b'{"user":%d,"browser":"Firefox","platform":"Linux x86_64","fonts":[%d,%d]}' % (n, n % 7, n) for n in range(500)
]
DICTIONARY = train(SAMPLES, 2048)


def encrypted(inner: Codec) -> Encrypted:
    return Encrypted(inner, KEYS, "2026-11")


LAYERS: dict[str, Callable[[Codec], Codec]] = {
    "zstd": lambda inner: Compressed(inner, "zstd", min_bytes=16),
    "zstd+dictionary": lambda inner: Compressed(inner, "zstd", min_bytes=1, dictionary=DICTIONARY),
    "lz4": lambda inner: Compressed(inner, "lz4", min_bytes=16),
    "encrypted": encrypted,
    "encrypted zstd": lambda inner: encrypted(Compressed(inner, "zstd", min_bytes=16)),
    "encrypted lz4": lambda inner: encrypted(Compressed(inner, "lz4", min_bytes=16)),
}
every_layer = pytest.mark.parametrize("wrap", LAYERS.values(), ids=LAYERS.keys())
VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=10,
)
BYTES = st.binary(max_size=200) | st.builds(
    lambda part, times: part * times, st.binary(max_size=5), st.integers(0, 500)
)


def frame_of(payload: bytes) -> str:
    return {0: "none", 1: "zstd", 2: "lz4"}[payload[0]]


@every_layer
@pytest.mark.parametrize("inner", [MsgpackCodec(), JsonCodec()], ids=["msgpack", "json"])
@given(value=VALUES)
def test_values_come_back_through_every_stack(wrap: Callable[[Codec], Codec], inner: Codec, value: Any) -> None:
    codec = wrap(inner)
    assert codec.decode(codec.encode(value)) == value


@every_layer
@given(value=BYTES)
def test_bytes_come_back_whatever_their_length(wrap: Callable[[Codec], Codec], value: bytes) -> None:
    codec = wrap(RawCodec())
    assert codec.decode(codec.encode(value)) == value


@every_layer
@given(payload=st.binary(max_size=80) | st.builds(bytes.__add__, st.sampled_from([b"\x01", b"\x02"]), st.binary()))
def test_any_bytes_decode_or_raise_one_kind_of_error(wrap: Callable[[Codec], Codec], payload: bytes) -> None:
    try:
        wrap(RawCodec()).decode(payload)
    except CodecError as error:
        assert str(error).startswith(("cannot decompress: ", "cannot decrypt: "))  # noqa: PT017  not all must raise


@every_layer
@given(where=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_never_decodes_to_another_value(wrap: Callable[[Codec], Codec], where: int, flip: int) -> None:
    codec, value = wrap(RawCodec()), b"a text that is long enough to be worth compressing " * 8
    damaged = bytearray(codec.encode(value))
    where %= len(damaged)
    damaged[where] ^= flip
    if where == 0 and damaged[0] == 0:
        return  # now marked as plain bytes of the inner codec, which must judge them by itself
    try:
        assert codec.decode(bytes(damaged)) == value  # e.g. an unused bit of a frame header
    except CodecError as error:
        assert str(error).startswith(("cannot decompress: ", "cannot decrypt: "))  # noqa: PT017  either is right


@every_layer
def test_a_payload_cut_off_anywhere_or_with_something_behind_it_is_refused(wrap: Callable[[Codec], Codec]) -> None:
    codec = wrap(RawCodec())
    payload = codec.encode(b"a text that is long enough to be worth compressing " * 8)
    for end in range(len(payload)):
        with pytest.raises(CodecError):
            codec.decode(payload[:end])
    for tail in (b"\0", payload):
        with pytest.raises(CodecError):
            codec.decode(payload + tail)


@every_layer
def test_a_value_the_inner_codec_refuses_is_refused(wrap: Callable[[Codec], Codec]) -> None:
    with pytest.raises(CodecError, match="the raw codec takes bytes, not int"):
        wrap(RawCodec()).encode(7)


def test_every_stack_has_an_id_of_its_own_among_those_of_cachestack() -> None:
    inner: list[Codec] = [MsgpackCodec(), JsonCodec(), RawCodec()]
    stacks = [[codec, Compressed(codec), encrypted(codec), encrypted(Compressed(codec))] for codec in inner]
    ids = [codec.id for codec in itertools.chain(*stacks)]
    assert len(set(ids)) == 12
    assert set(ids) <= set(range(1, 16))
    assert Compressed(inner[0], "lz4").id == Compressed(inner[0], "zstd").id  # either reads the other


def test_the_cache_of_another_stack_sees_a_miss() -> None:
    class Server:
        def now_ms(self) -> int:
            return 1_000_000

    codecs: list[Codec] = [
        JsonCodec(),
        Compressed(JsonCodec()),
        encrypted(JsonCodec()),
        encrypted(Compressed(JsonCodec())),
    ]
    caches = [Serializer(codec, Server(), Stats()) for codec in codecs]  # type: ignore[arg-type]  # all it needs
    for writer, reader in itertools.product(caches, repeat=2):
        data, _ = writer.seal({"n": 1}, writer.encode({"n": 1}, "k"), 60)
        found = reader.load(data, "k")
        assert (found is not None and found.value == {"n": 1}) if reader is writer else found is None


def test_a_wrapper_around_a_codec_of_the_application_takes_an_id_of_the_application() -> None:
    class Upper:
        id = 40

        def encode(self, value: Any) -> bytes:
            return str(value).upper().encode()

        def decode(self, payload: bytes) -> Any:
            return payload.decode().lower()

    codec = Encrypted(Compressed(Upper(), id=41), KEYS, "2026-11", id=42)
    assert codec.decode(codec.encode("hello")) == "hello"
    assert codec.id == 42
    for wrong in (None, 15, 40, 256, True):
        with pytest.raises(ConfigurationError, match=r"16 to 255, other than its own \(40\)"):
            Compressed(Upper(), id=wrong)


def test_wrappers_in_an_order_that_makes_no_sense_are_refused() -> None:
    for build in (
        lambda: Compressed(Compressed(RawCodec())),
        lambda: Compressed(encrypted(RawCodec())),
        lambda: encrypted(encrypted(RawCodec())),
    ):
        with pytest.raises(ConfigurationError, match="each wrapper once, and Encrypted outside Compressed"):
            build()
    with pytest.raises(ConfigurationError, match=r"id=77.*only for a codec of your own"):
        Compressed(RawCodec(), id=77)


# -- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["zstd", "lz4"])
def test_only_values_that_get_smaller_are_compressed(algorithm: Any) -> None:
    codec = Compressed(RawCodec(), algorithm, min_bytes=100)
    assert frame_of(codec.encode(b"a" * 99)) == "none"
    assert frame_of(codec.encode(bytes(range(256)))) == "none"
    large = codec.encode(b"a" * 100_000)
    assert frame_of(large) == algorithm
    assert len(large) < 1000


def test_a_reader_understands_either_algorithm_and_plain_values() -> None:
    value = b"a" * 1000
    writers = [Compressed(RawCodec(), "zstd"), Compressed(RawCodec(), "lz4"), Compressed(RawCodec(), min_bytes=10_000)]
    assert [frame_of(writer.encode(value)) for writer in writers] == ["zstd", "lz4", "none"]
    for writer, reader in itertools.product(writers, repeat=2):
        assert reader.decode(writer.encode(value)) == value


@pytest.mark.parametrize("algorithm", ["zstd", "lz4"])
def test_a_small_payload_that_claims_to_be_huge_is_refused_before_it_is_unpacked(algorithm: Any) -> None:
    bomb = Compressed(RawCodec(), algorithm, max_bytes=2**24).encode(bytes(2**24))
    assert len(bomb) < 2**17
    reader = Compressed(RawCodec(), algorithm, max_bytes=2**24 - 1)
    with pytest.raises(CodecError, match="the frame says that it holds 16777216 bytes; 1 to 16777215 are allowed"):
        reader.decode(bomb)
    with pytest.raises(CodecError, match="more than max_bytes=16777215"):
        reader.encode(bytes(2**24))


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    zstandard, lz4 = pytest.importorskip("zstandard"), pytest.importorskip("lz4.frame")
    silent = {
        b"\x01": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5000)),
        b"\x02": lz4.compress(bytes(5000), store_size=False),
    }
    for mark, frame in silent.items():
        with pytest.raises(CodecError, match="the frame says that it holds"):
            Compressed(RawCodec()).decode(mark + frame)


def test_a_trained_dictionary_makes_small_values_much_smaller_and_is_needed_to_read_them() -> None:
    value = b'{"user":9001,"browser":"Firefox","platform":"Linux x86_64","fonts":[3,9001]}'
    with_it = Compressed(RawCodec(), min_bytes=1, dictionary=DICTIONARY)
    payload = with_it.encode(value)
    assert len(payload) < 0.6 * len(Compressed(RawCodec(), min_bytes=1).encode(value))
    other = train([b"something else entirely, number %d, %d" % (n, n * n) for n in range(500)], 2048)
    for reader in (Compressed(RawCodec()), Compressed(RawCodec(), dictionary=other), Compressed(RawCodec(), "lz4")):
        with pytest.raises(CodecError, match="cannot decompress: "):
            reader.decode(payload)


def test_threads_may_share_a_codec() -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  of this test alone

    codec = Compressed(RawCodec(), min_bytes=1, dictionary=DICTIONARY)
    values = [bytes([n % 256]) * (20_000 + n) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda value: codec.decode(codec.encode(value)), values)) == values


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"algorithm": "gzip"}, "algorithm='gzip': zstd or lz4"),
        ({"level": 0}, "level=0: a whole number from 1 to 22"),
        ({"algorithm": "lz4", "level": 17}, "level=17: a whole number from 0 to 16"),
        ({"level": True}, "level=True: a whole number"),
        ({"min_bytes": 0}, "min_bytes=0: a whole number from 1 to"),
        ({"min_bytes": 100, "max_bytes": 99}, "max_bytes=99: a whole number from 100 to"),
        ({"dictionary": b"no dictionary"}, "dictionary: not a trained Zstandard dictionary"),
        ({"dictionary": b""}, "dictionary: not a trained Zstandard dictionary"),
        ({"algorithm": "lz4", "dictionary": DICTIONARY}, "dictionary: only with algorithm='zstd', not 'lz4'"),
    ],
)
def test_what_compression_cannot_do_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Compressed(RawCodec(), **given)


@pytest.mark.parametrize("samples", [[], [b""] * 100, [b"abc"] * 5, ["text"] * 100])
def test_training_on_too_little_says_what_is_needed(samples: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"samples: {len(samples)} are not enough to learn from"):
        train(samples)


# -- encryption -------------------------------------------------------------------------------------------------------


def test_a_payload_shows_nothing_of_the_value_and_differs_each_time() -> None:
    codec = encrypted(RawCodec())
    first, second = codec.encode(b"card 4111"), codec.encode(b"card 4111")
    assert b"4111" not in first
    assert first != second
    assert first.startswith(b"\x072026-11")


def test_after_a_rotation_old_entries_decode_until_their_key_is_dropped() -> None:
    old = Encrypted(RawCodec(), KEYS, "2026-10")
    rotated = Encrypted(RawCodec(), KEYS, "2026-11")
    dropped = Encrypted(RawCodec(), {"2026-11": KEYS["2026-11"]}, "2026-11")
    payload = old.encode(b"value")
    assert rotated.decode(payload) == b"value"
    assert (
        old.decode(rotated.encode(b"value")) == b"value"
    )  # a pod that was not rotated yet reads what the others write
    with pytest.raises(CodecError, match="no key has the id b'2026-10'"):
        dropped.decode(payload)


def test_a_payload_is_good_for_its_redis_key_only() -> None:
    codec = encrypted(JsonCodec())
    payload = codec.encode_for("shop:v1:user:1", {"admin": True})
    assert codec.decode_for("shop:v1:user:1", payload) == {"admin": True}
    for key in ("shop:v1:user:2", "shop:v2:user:1", ""):
        with pytest.raises(CodecError, match="written for another Redis key"):
            codec.decode_for(key, payload)
    with pytest.raises(CodecError, match="written for another Redis key"):
        codec.decode(payload)


def test_a_payload_relabelled_as_another_stack_or_key_id_does_not_decode() -> None:
    payload = encrypted(MsgpackCodec()).encode(1)
    with pytest.raises(CodecError, match="cannot decrypt: changed"):
        encrypted(JsonCodec()).decode(payload)
    same_key = Encrypted(MsgpackCodec(), {"2026-10": KEYS["2026-11"]}, "2026-10")
    with pytest.raises(CodecError, match="cannot decrypt: changed"):
        same_key.decode(payload.replace(b"2026-11", b"2026-10"))


def test_no_printed_form_or_error_shows_a_key() -> None:
    secret = b"Sixteen+Sixteen="
    codec = Encrypted(RawCodec(), {"a": secret * 2}, "a")
    assert "Sixteen" not in f"{codec!r} {codec} {vars(codec)}"
    assert "keys=<'a'>, active='a'" in repr(codec)
    for wrong in (secret, secret.decode() * 2):
        with pytest.raises(ConfigurationError, match=r"keys\['a'\]: 32 bytes.* not (16 bytes|str)") as caught:
            Encrypted(RawCodec(), {"a": wrong}, "a")  # type: ignore[dict-item]  # that is the point
        assert "Sixteen" not in str(caught.value)


@pytest.mark.parametrize("key_id", ["", "é", "a\n", "x" * 33, 7])
def test_a_key_id_that_cannot_be_stored_is_refused(key_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="1 to 32 printable ASCII characters"):
        Encrypted(RawCodec(), {key_id: bytes(32)}, key_id)


def test_the_active_key_must_be_one_of_the_keys() -> None:
    with pytest.raises(ConfigurationError, match="active='c': one of the key ids 2026-10, 2026-11"):
        Encrypted(RawCodec(), KEYS, "c")
    with pytest.raises(ConfigurationError, match=r"active='c': one of the key ids \(none given\)"):
        Encrypted(RawCodec(), {}, "c")


# -- optional dependencies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "build", "extra"),
    [
        ("zstandard", lambda: Compressed(RawCodec()), "compress"),
        ("lz4.frame", lambda: Compressed(RawCodec()), "compress"),
        ("zstandard", lambda: train(SAMPLES), "compress"),
        ("cryptography.hazmat.primitives.ciphers.aead", lambda: encrypted(RawCodec()), "crypto"),
    ],
)
def test_without_its_library_a_wrapper_names_the_extra(
    missing: str, build: Callable[[], Any], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=rf"{missing} is not installed: pip install 'cachestack\[{extra}\]'"):
        build()


def test_importing_the_client_imports_no_optional_library() -> None:
    # Of cryptography only what encryption needs: redis-py imports other parts of it, where it is installed.
    optional = ["zstandard", "lz4", "cryptography.hazmat.primitives.ciphers.aead"]
    code = f"import sys, cacheclient.codec; print([name for name in {optional} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
