"""Every way in which the token of a provider can be wrong, and the keys that prove a right one."""

from functools import partial
from typing import Any

import orjson
from joserfc.jwk import ECKey, OctKey
from tests.accounts.issuers import EC, RSA, STRANGE, Claims, Issuer, signed, signed_by_hand
from tests.accounts.rounds import (
    CLIENT_SECRET,
    Rounds,
    error_of,
    error_of_none,
    user_of,
)
from tests.conftest import FrozenClock

from ohmstead.core.db import Database

WRONG: dict[str, dict[str, Any]] = {
    "the issuer": {"iss": "https://other.example"},
    "no issuer": {"iss": None},
    "the audience": {"aud": "another-client"},
    "no audience": {"aud": None},
    "an audience of several without a party": {"aud": ["ohmstead", "another-client"]},
    "the party": {"aud": ["ohmstead"], "azp": "another-client"},
    "the nonce": {"nonce": "of another sign-in"},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": ["x"]},
    "an end in the past": {"exp": 1_700_000_000},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "a beginning in the future": {"iat": 4_000_000_000, "exp": 4_000_000_300},
    "a beginning long ago": {"iat": 1_700_000_000},
    "no beginning": {"iat": None},
    "not valid yet": {"nbf": 4_000_000_000},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "x" * 256},
    "a subject with NUL": {"sub": "a\x00b"},
    "a subject that is no text": {"sub": 7},
}


def unsigned(claims: Claims) -> str:
    _, body, _ = signed(claims).split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def by_client_secret(claims: Claims) -> str:
    return signed(claims, OctKey.import_key(CLIENT_SECRET.ljust(32, "x")), "HS256")


def by_public_key_as_secret(claims: Claims) -> str:
    secret = RSA.as_pem(private=False)
    return signed_by_hand({"alg": "HS256", "kid": "rsa"}, orjson.dumps(claims), secret)


def with_a_critical_header(claims: Claims) -> str:
    return signed_by_hand({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}, orjson.dumps(claims))


def of_half_a_character(claims: Claims) -> str:
    body = orjson.dumps(claims).replace(b"maya-1", rb"\ud800")
    return signed_by_hand({"alg": "RS256", "kid": "rsa"}, body)


def with_own_key(claims: Claims) -> str:
    return signed(claims, STRANGE, kid="rsa", jwk=STRANGE.as_dict(private=False))


def touched(claims: Claims) -> str:
    header, _, signature = signed(claims).split(".")
    _, body, _ = signed({**claims, "sub": "admin"}).split(".")
    return f"{header}.{body}.{signature}"


FAULTY = {
    "unsigned": unsigned,
    "signed by the client secret": by_client_secret,
    "signed by the public key as a secret": by_public_key_as_secret,
    "signed by a strange key": lambda claims: signed(claims, STRANGE),
    "signed by a key that it brings along": with_own_key,
    "signed by a key that nobody publishes": lambda claims: signed(claims, STRANGE, kid="unknown"),
    "changed after it was signed": touched,
    "of an algorithm that its key is not for": lambda claims: signed(claims, EC, "ES256", kid="rsa"),
    "with a critical header that nobody knows": with_a_critical_header,
    "missing": lambda _: None,
    "no token": lambda _: "no token",
    "three parts of nothing": lambda _: "..",
    "a list": lambda _: ["a", "b"],
    "very long": lambda claims: signed({**claims, "x": "y" * 20_000}),
    "half a character in its subject": of_half_a_character,
}


class TestTokensWithFaults:
    async def test_claims_that_are_wrong_let_nobody_in(self, rounds: Rounds, db: Database) -> None:
        for what, claims in WRONG.items():
            assert error_of(await rounds.go(**claims)) == "SignInRefused", what
        assert await user_of(db, "maya@people.example") is None

    async def test_tokens_that_are_wrong_let_nobody_in(
        self, rounds: Rounds, issuer: Issuer, db: Database
    ) -> None:
        for what, make in FAULTY.items():
            issuer.token = make
            assert error_of(await rounds.go()) == "SignInRefused", what
        assert await user_of(db, "maya@people.example") is None

    async def test_the_same_by_hand_is_right(self, rounds: Rounds, issuer: Issuer) -> None:
        issuer.token = lambda claims: signed_by_hand({"alg": "RS256", "kid": "rsa"}, orjson.dumps(claims))
        assert error_of_none(await rounds.go())

    async def test_several_audiences_with_us_as_the_party_are_right(self, rounds: Rounds) -> None:
        assert error_of_none(await rounds.go(aud=["ohmstead", "account"], azp="ohmstead"))

    async def test_an_elliptic_key_is_right_too(self, rounds: Rounds, issuer: Issuer) -> None:
        issuer.token = lambda claims: signed(claims, EC, "ES256")
        assert error_of_none(await rounds.go())

    async def test_a_token_of_an_earlier_sign_in_is_not_good_for_this_one(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        earlier: list[str] = []

        def keeping(claims: Claims) -> str:
            earlier.append(signed(claims))
            return earlier[0]

        issuer.token = keeping
        assert error_of_none(await rounds.go())
        assert error_of(await rounds.go()) == "SignInRefused"

    async def test_the_secret_of_the_client_is_where_the_provider_wants_it(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.configuration["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        clock.advance(3601)
        assert error_of_none(await rounds.go())
        assert issuer.forms[-1]["client_secret"] == CLIENT_SECRET
        assert "authorization" not in issuer.headers[issuer.asked.index("/token")]


class TestKeys:
    async def test_a_new_key_is_fetched_once_when_it_is_first_met(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        assert error_of_none(await rounds.go())
        turned = ECKey.generate_key("P-256", {"kid": "turned"})
        issuer.keys = [turned.as_dict(private=False)]
        issuer.token = lambda claims: signed(claims, turned, "ES256")
        clock.advance(31)
        assert error_of_none(await rounds.go())
        assert issuer.asked.count("/keys") == 2

    async def test_made_up_key_ids_do_not_make_us_ask_again_and_again(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        for number in range(5):
            issuer.token = partial(signed, key=STRANGE, kid=f"made up {number}")
            assert error_of(await rounds.go()) == "SignInRefused"
        assert issuer.asked.count("/keys") == 1

    async def test_keys_that_are_weak_broken_or_for_something_else_are_passed_over(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        good = issuer.keys[0]
        issuer.keys = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"},
            {"kty": "RSA", "kid": "rsa"},
            {**good, "use": "enc"},
            {"kty": "EC", "crv": "P-0", "x": "?", "y": 1, "kid": "rsa"},
            "no key",  # type: ignore[list-item] # it is none
            good,
        ]
        assert error_of_none(await rounds.go())

    async def test_while_the_issuer_is_away_its_known_keys_serve(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        assert error_of_none(await rounds.go())
        clock.advance(2 * 3600)
        real = issuer.answer
        issuer.answer = lambda path, form: (  # type: ignore[method-assign] # only the exchange is at work
            real(path, form) if path == "/token" else {}
        )
        assert error_of_none(await rounds.go())
