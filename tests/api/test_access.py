"""Who is an administrator, and what all others learn: nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cacheclient.api import Administrators, JwtRules, Problem, Tokens
from cacheclient.errors import ConfigurationError
from tests.api.conftest import ALICE, BOB, Pod, bearer

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

GUARDED = [
    ("POST", "/cache/invalidate"),
    ("POST", "/cache/prewarm"),
    ("GET", "/cache/explain/user:1"),
    ("GET", "/cache/prewarm/5f1c0c7e9a6b4f6f8f2a7f0f5f9b1a2c"),
]


CREDENTIALS = [
    b"", b"Bearer", b"Bearer ", b"Bearer wrong-wrong-wrong", b"Bearer " + ALICE[:-1].encode(),
    f"Bearer {ALICE}x".encode(),
    b"Bearer " + 9000 * b"x", ALICE.encode(), f"Basic {ALICE}".encode(), b"Bearer a.b.c", "Bearer ä.ö.ü".encode(),
    b"Bearer \xff\xfe",
]  # fmt: skip
REQUESTS: list[tuple[bytes, dict[bytes, bytes]]] = [
    (b"", {}),
    (b"{", {b"Content-Type": b"application/json"}),
    (b"x" * 100_000, {b"Content-Type": b"text/plain"}),
    (b'{"key": "a"}', {b"Content-Type": b"application/json", b"Idempotency-Key": "ä ö".encode()}),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_token_every_request_gets_the_same_answer(pod: Pod, method: str, path: str) -> None:
    client = pod()
    answers = [
        client.request(
            method, path, headers={b"Authorization": given, b"X-Request-ID": b"same", **more}, content=body
        )
        for given in CREDENTIALS
        for body, more in REQUESTS
    ]  # fmt: skip
    assert {(a.status_code, a.text, a.headers["www-authenticate"]) for a in answers} == {
        (401, answers[0].text, "Bearer")
    }
    assert "user" not in answers[0].text


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_configured_authentication_everybody_is_refused(pod: Pod, method: str, path: str) -> None:
    client = pod(administrators=None)
    assert client.request(method, path, headers=bearer(), json={"key": "a"}).status_code == 401


def test_tokens_are_several_and_read_anew(tokens: Path) -> None:
    admins = Administrators(Tokens(tokens))
    (tokens / ".alice.swp").write_text("what an editor has left behind")
    with pytest.raises(Problem):
        admins.admit("Bearer what an editor has left behind")
    assert admins.admit(f"Bearer {ALICE}") == "token:alice"
    assert admins.admit(f"bearer  {BOB} ") == "token:bob"
    # As the kubelet does it: a new directory, to which the link is moved in one step. Bob is gone, Carol came.
    (tokens / "..2027").mkdir()
    for name, token in {"alice": f"{ALICE}\nalice-new-token-1234", "carol": "carol-token-1234567"}.items():
        (tokens / "..2027" / name).write_text(token)
        (tokens / name).unlink(missing_ok=True)
        (tokens / name).symlink_to(Path("..data") / name)
    (tokens / "..next").symlink_to("..2027")
    (tokens / "..next").rename(tokens / "..data")
    assert admins.admit(f"Bearer {ALICE}") == admins.admit("Bearer alice-new-token-1234") == "token:alice"
    assert admins.admit("Bearer carol-token-1234567") == "token:carol"
    with pytest.raises(Problem):
        admins.admit(f"Bearer {BOB}")


def test_what_cannot_be_read_any_more_admits_nobody(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    admins = Administrators(Tokens(tokens))
    (tokens / "..2026" / "bob").write_text("short")
    with pytest.raises(Problem) as refused:
        admins.admit(f"Bearer {ALICE}")
    assert refused.value.status == 401
    assert "admin tokens bob: 16 to 8192 characters" in caplog.text
    assert ALICE not in caplog.text


# -- JWT --------------------------------------------------------------------------------------------------------------


_WHOLE_RUN: Final = (
    3600  # seconds: what is signed when tests are collected is to be refused for its own fault at the end
)


def claims(**changes: Any) -> dict[str, Any]:
    ends = int(time.time()) + _WHOLE_RUN
    default = {"sub": "dora", "aud": "cache", "iss": "https://id.example", "exp": ends, "scope": "read cache:admin"}
    return {name: value for name, value in (default | changes).items() if value is not None}


@pytest.fixture(params=["pem", "jwks"])
def rules(request: pytest.FixtureRequest, tmp_path: Path) -> JwtRules:
    path = tmp_path / "keys"
    if request.param == "pem":
        path.write_bytes(PEM)
    else:
        ours = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "one", "use": "sig", "alg": "RS256"}
        path.write_text(
            json.dumps({"keys": [ours, ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True) | {"kid": "two"}]})
        )
    return JwtRules(keys=path, audience="cache", issuer="https://id.example", scope="cache:admin")


def signed(payload: dict[str, Any], key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "one") -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def test_a_valid_jwt_names_its_subject(rules: JwtRules) -> None:
    assert Administrators(jwt=rules).admit(f"Bearer {signed(claims())}") == "jwt:dora"
    assert Administrators(jwt=rules).admit(f"Bearer {signed(claims(aud=['other', 'cache']))}") == "jwt:dora"
    late = claims(exp=int(time.time()) - 2)  # clocks differ
    assert Administrators(jwt=rules).admit(f"Bearer {signed(late)}") == "jwt:dora"


@pytest.mark.parametrize(
    "token",
    [
        signed(claims(exp=int(time.time()) - 60)),
        signed(claims(exp=None)),
        signed(claims(nbf=int(time.time()) + _WHOLE_RUN)),
        signed(claims(aud="other")),
        signed(claims(aud=None)),
        signed(claims(iss="https://evil.example")),
        signed(claims(iss=None)),
        signed(claims(sub=None)),
        signed(claims(), OTHER_KEY),
        signed(claims(), EC_KEY, "ES256"),  # of the other key than the one it names
        jwt.encode(claims(), "", algorithm="none"),
        jwt.encode(claims(), "a-secret-of-thirty-two-characters", algorithm="HS256", headers={"kid": "one"}),
        signed(claims(), RSA_KEY, "RS512"),  # a good key, but not by an algorithm that is allowed
        signed(claims())[:-4] + "AAAA",
        "a.b.c",
        "..",
        signed(claims(), kid="three") + "x",
    ],
    ids=lambda _: "jwt",  # each is another at every run
)
def test_every_other_jwt_is_refused(rules: JwtRules, token: str) -> None:
    with pytest.raises(Problem) as refused:
        Administrators(jwt=rules).admit(f"Bearer {token}")
    assert (refused.value.status, refused.value.detail) == (401, "administrators only: a bearer token is needed")


def test_the_public_key_is_no_secret_to_sign_with(rules: JwtRules) -> None:
    """The classic confusion: HS256 with the text of the public key."""
    from base64 import urlsafe_b64encode  # noqa: PLC0415
    from hashlib import sha256  # noqa: PLC0415
    from hmac import digest  # noqa: PLC0415

    def part(data: Any) -> bytes:
        return urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=")

    head = part({"alg": "HS256", "typ": "JWT", "kid": "one"}) + b"." + part(claims())
    forged = (head + b"." + part(digest(PEM, head, sha256))).decode()
    with pytest.raises(Problem):
        Administrators(jwt=rules).admit(f"Bearer {forged}")


@pytest.mark.parametrize("scope", [None, "", "read", "cache:administrator", 7])
def test_a_jwt_without_the_scope_is_forbidden(rules: JwtRules, scope: Any) -> None:
    with pytest.raises(Problem) as refused:
        Administrators(jwt=rules).admit(f"Bearer {signed(claims(scope=scope))}")
    assert refused.value.status == 403


def test_keys_are_rotated_in_their_file(rules: JwtRules) -> None:
    token = signed(claims(), OTHER_KEY)
    with pytest.raises(Problem):
        rules.subject(token)
    Path(rules.keys).write_bytes(OTHER_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert rules.subject(token) == "dora"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "jwt keys"),
        ("{}", "jwt keys"),
        ('{"keys": []}', "jwt keys"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}', "none is for"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "jwt keys"),
    ],
)
def test_keys_that_are_none_are_refused_at_start(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigurationError, match=says):
        JwtRules(keys=tmp_path / "keys", audience="cache", issuer="me")


def test_a_token_and_a_jwt_can_be_valid_at_once(rules: JwtRules, tokens: Path) -> None:
    admins = Administrators(Tokens(tokens), rules)
    assert admins.admit(f"Bearer {ALICE}") == "token:alice"
    assert admins.admit(f"Bearer {signed(claims())}") == "jwt:dora"
