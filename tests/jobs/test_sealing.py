"""Compression and encryption: everything comes back, and nothing that was touched does."""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.jobs import sealing
from infra.jobs.errors import CorruptBackupError, UsageError
from infra.jobs.sealing import Keys

SIZES = (0, 1, 63, 64, 65, 127, 128, 129, 1000)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "CHUNK", 64)


def there(tmp_path: Path, content: bytes, keys: Keys, *, compress: bool) -> Path:
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(content)
    counted: list[int] = []
    done = sealing.seal(plain, sealed, compress=compress, keys=keys, advance=counted.append)
    assert (done.size, done.sha256) == (sealed.stat().st_size, sealing.digest(sealed))
    assert sum(counted) == len(content)
    return sealed


def back(tmp_path: Path, sealed: Path, keys: Keys, *, compressed: bool, key_id: str = "") -> bytes:
    target = tmp_path / "back"
    sealing.unseal(sealed, target, compressed=compressed, key_id=key_id, keys=keys, advance=lambda _: None)
    return target.read_bytes()


@pytest.mark.parametrize(("compress", "encrypt"), list(itertools.product((False, True), repeat=2)))
def test_what_was_sealed_comes_back_at_every_size_around_a_chunk(
    tmp_path: Path, keys: Keys, *, compress: bool, encrypt: bool
) -> None:
    used = keys if encrypt else Keys(None)
    for size in SIZES:
        content = secrets.token_bytes(size)
        sealed = there(tmp_path, content, used, compress=compress)
        assert back(tmp_path, sealed, used, compressed=compress, key_id=used.active) == content
        if encrypt and size > 8:
            assert content[:8] not in sealed.read_bytes()


def test_the_same_file_is_never_encrypted_to_the_same_bytes(tmp_path: Path, keys: Keys) -> None:
    first = there(tmp_path, b"x" * 100, keys, compress=False).read_bytes()
    assert there(tmp_path, b"x" * 100, keys, compress=False).read_bytes()[50:] != first[50:]


def test_another_key_does_not_open_it_and_an_old_one_still_does(tmp_path: Path, keys: Keys) -> None:
    sealed = there(tmp_path, b"x" * 100, keys, compress=True)
    with pytest.raises(CorruptBackupError, match="not one that the key 'second' has encrypted"):
        back(tmp_path, sealed, keys, compressed=True, key_id="second")
    rotated = Keys(keys.folder, "second")
    assert back(tmp_path, sealed, rotated, compressed=True, key_id="first") == b"x" * 100
    assert keys.folder is not None
    (keys.folder / "first").write_bytes(secrets.token_bytes(32))
    with pytest.raises(CorruptBackupError, match="another key, or bytes changed"):
        back(tmp_path, sealed, keys, compressed=True, key_id="first")
    with pytest.raises(UsageError, match="no folder with keys"):
        back(tmp_path, sealed, Keys(None), compressed=True, key_id="first")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    (folder / "k").write_bytes(bytes(range(32)))
    keys = Keys(folder, "k")
    sealed = there(folder, b"content" * 30, keys, compress=False)
    data = bytearray(sealed.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    sealed.write_bytes(data)
    with pytest.raises(CorruptBackupError):
        back(folder, sealed, keys, compressed=False, key_id="k")


def test_chunks_can_be_neither_cut_off_nor_exchanged_nor_repeated(tmp_path: Path, keys: Keys) -> None:
    sealed = there(tmp_path, secrets.token_bytes(64 * 4), keys, compress=False)
    data = sealed.read_bytes()
    head = len(data) - 4 * 80
    chunks = [data[head + n * 80 : head + (n + 1) * 80] for n in range(4)]
    for order in ((0, 1, 2), (0, 2, 1, 3), (0, 1, 1, 2, 3), (1, 2, 3), (0, 1, 2, 3, 3), ()):
        sealed.write_bytes(data[:head] + b"".join(chunks[n] for n in order))
        with pytest.raises(CorruptBackupError):
            back(tmp_path, sealed, keys, compressed=False, key_id="first")


def test_a_compressed_file_that_was_cut_off_or_changed_is_corrupt(tmp_path: Path) -> None:
    sealed = there(tmp_path, secrets.token_bytes(1000), Keys(None), compress=True)
    data = sealed.read_bytes()
    for touched in (data[:-3], data[: len(data) // 2], b"", b"no zstd at all", data[:500] + b"??" + data[502:]):
        sealed.write_bytes(touched)
        with pytest.raises(CorruptBackupError, match="decompressed"):
            back(tmp_path, sealed, Keys(None), compressed=True)


def test_a_key_that_is_none_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("geheim")
    with pytest.raises(UsageError, match="32 bytes") as caught:
        Keys(tmp_path, "short").key("short")
    assert "geheim" not in str(caught.value)
    for bad in ("../short", "", "a/b"):
        with pytest.raises(UsageError):
            Keys(tmp_path).key(bad)
    with pytest.raises(UsageError, match="the name of a file"):
        Keys(tmp_path, "../short")
