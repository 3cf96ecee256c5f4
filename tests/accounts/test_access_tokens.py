import base64
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey

from ohmstead.accounts.access_tokens import issue, key_id, read
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import derive_key
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SETTINGS = Settings.load(environment="test", secret_key="k" * 40, jwt_minutes=120)
RIGHT_KEY = derive_key("k" * 40, "access-token")


def a_user(role: Role = Role.OPERATOR, stations: int = 2) -> User:
    business = uuid4() if role in {Role.OPERATOR, Role.BACKOFFICE} else None
    return User(
        id=uuid4(), email="a@b.de", role=role, backoffice_id=business,
        operator_station_ids=[uuid4() for _ in range(stations)],
    )  # fmt: skip


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def coded(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def signed(claims: dict[str, Any], key: bytes = RIGHT_KEY, **header: Any) -> str:
    algorithm = header.get("alg", "HS256")
    header = {"alg": "HS256", "kid": key_id("k" * 40), **header}
    return jwt.encode(
        {name: value for name, value in header.items() if value is not ...},
        claims,
        OctKey.import_key(key),
        algorithms=[algorithm],
    )


def good_claims(**changes: Any) -> dict[str, Any]:
    claims = {**claims_of(issue(SETTINGS, a_user(), NOW)), **changes}
    return {name: value for name, value in claims.items() if value is not ...}


class TestIssue:
    def test_the_claims_are_those_of_the_user(self) -> None:
        user = a_user()
        claims = claims_of(issue(SETTINGS, user, NOW))
        moment = int(NOW.timestamp())
        assert UUID(claims.pop("jti")).version == 4
        assert claims == {
            "iss": "ohmstead",
            "aud": "ohmstead-api",
            "sub": str(user.id),
            "role": "Operator",
            "backofficeId": str(user.backoffice_id),
            "operatorStationIds": [str(station) for station in user.operator_station_ids],
            "iat": moment,
            "nbf": moment,
            "exp": moment + 7200,
        }

    def test_two_tokens_of_one_moment_differ(self) -> None:
        user = a_user()
        assert issue(SETTINGS, user, NOW) != issue(SETTINGS, user, NOW)

    @pytest.mark.parametrize(("stations", "named"), [(0, True), (50, True), (51, False)])
    def test_more_than_fifty_stations_are_left_out(self, stations: int, named: bool) -> None:
        token = issue(SETTINGS, a_user(stations=stations), NOW)
        assert ("operatorStationIds" in claims_of(token)) is named
        assert len(token) < 8000

    def test_a_system_admin_has_no_business(self) -> None:
        claims = claims_of(issue(SETTINGS, a_user(Role.SYSTEM_ADMIN, stations=0), NOW))
        assert claims["backofficeId"] is None
        assert claims["operatorStationIds"] == []


class TestRead:
    def test_a_token_says_whose_it_is_and_when_it_ends(self) -> None:
        user = a_user()
        claims = read(SETTINGS, issue(SETTINGS, user, NOW), NOW)
        assert claims.user_id == user.id
        assert claims.expires_at == NOW + timedelta(minutes=120)

    def test_it_is_valid_to_its_last_second_and_not_at_its_end(self) -> None:
        token = issue(SETTINGS, a_user(), NOW)
        read(SETTINGS, token, NOW + timedelta(minutes=120, seconds=-1))
        for late in (0, 1, 10**6):
            with pytest.raises(Unauthenticated):
                read(SETTINGS, token, NOW + timedelta(minutes=120, seconds=late))

    def test_another_process_whose_clock_is_a_little_behind_believes_it(self) -> None:
        token = issue(SETTINGS, a_user(), NOW)
        read(SETTINGS, token, NOW - timedelta(seconds=5))
        with pytest.raises(Unauthenticated):
            read(SETTINGS, token, NOW - timedelta(seconds=6))

    def test_control_a_token_made_by_hand_with_good_claims_is_read(self) -> None:
        """Without this the refusals below could have any reason."""
        claims = good_claims()
        assert str(read(SETTINGS, signed(claims), NOW).user_id) == claims["sub"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "another-api"},
            {"aud": ["another-api", "a-third"]},
            {"aud": ...},
            {"iss": "somebody"},
            {"iss": ...},
            {"exp": ...},
            {"exp": int(NOW.timestamp()) - 1},
            {"exp": "2030-01-01"},
            {"exp": True},
            {"exp": 10**30},
            {"exp": None},
            {"nbf": int(NOW.timestamp()) + 60},
            {"nbf": ...},
            {"iat": int(NOW.timestamp()) + 60},
            {"iat": ...},
            {"jti": ...},
            {"sub": ...},
            {"sub": "admin"},
            {"sub": 7},
            {"sub": ""},
            {"sid": "no id"},
            {"sid": 7},
            {"sid": None},
        ],
        ids=str,
    )
    def test_a_well_signed_token_with_a_wrong_claim_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(Unauthenticated):
            read(SETTINGS, signed(good_claims(**changes)), NOW)

    def test_another_key_is_refused(self) -> None:
        with pytest.raises(Unauthenticated):
            read(SETTINGS, signed(good_claims(), key=b"x" * 32), NOW)

    def test_the_secret_key_itself_is_not_the_signing_key(self) -> None:
        with pytest.raises(Unauthenticated):
            read(SETTINGS, signed(good_claims(), key=b"k" * 40), NOW)

    def test_a_key_of_another_purpose_is_refused(self) -> None:
        with pytest.raises(Unauthenticated):
            read(SETTINGS, signed(good_claims(), key=derive_key("k" * 40, "secret")), NOW)

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_another_algorithm_with_the_right_key_is_refused(self, algorithm: str) -> None:
        token = signed(good_claims(), alg=algorithm)
        with pytest.raises(Unauthenticated):
            read(SETTINGS, token, NOW)

    @pytest.mark.parametrize("none", ["none", "None", "NONE", "", None])
    @pytest.mark.parametrize("keep_signature", [False, True])
    def test_a_token_without_a_signature_is_refused(self, none: str | None, keep_signature: bool) -> None:
        signature = signed(good_claims()).split(".")[2] if keep_signature else ""
        header = coded({"alg": none, "typ": "JWT", "kid": key_id("k" * 40)})
        token = f"{header}.{coded(good_claims())}.{signature}"
        with pytest.raises(Unauthenticated):
            read(SETTINGS, token, NOW)

    @pytest.mark.parametrize(
        "kid", [..., "", None, 7, "another", "../../dev/null", "' OR 1=1", ["k"], key_id("x" * 40)], ids=str
    )
    def test_a_token_that_names_no_key_of_ours_is_refused(self, kid: Any) -> None:
        token = signed(good_claims())
        header = {"alg": "HS256", "kid": kid}
        head = coded({name: value for name, value in header.items() if value is not ...})
        mac = hmac.digest(RIGHT_KEY, f"{head}.{token.split('.')[1]}".encode(), "sha256")
        forged = f"{head}.{token.split('.')[1]}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        with pytest.raises(Unauthenticated):
            read(SETTINGS, forged, NOW)

    def test_a_key_that_the_token_brings_along_is_not_used(self) -> None:
        own = OctKey.import_key(b"x" * 32)
        with pytest.raises(Unauthenticated):
            read(SETTINGS, signed(good_claims(), key=b"x" * 32, jwk=own.as_dict()), NOW)

    def test_the_key_before_the_present_one_is_believed_as_long_as_it_is_named(self) -> None:
        user = a_user()
        old = issue(SETTINGS, user, NOW)
        turned = Settings.load(environment="test", secret_key="n" * 40, secret_key_previous="k" * 40)
        assert read(turned, old, NOW).user_id == user.id
        assert read(turned, issue(turned, user, NOW), NOW).user_id == user.id
        with pytest.raises(Unauthenticated):
            read(SETTINGS, issue(turned, user, NOW), NOW)  # what is new is signed with the new key alone
        with pytest.raises(Unauthenticated):
            read(Settings.load(environment="test", secret_key="n" * 40), old, NOW)

    def test_a_token_names_the_session_that_it_was_given_in(self) -> None:
        session = uuid4()
        assert read(SETTINGS, issue(SETTINGS, a_user(), NOW, session), NOW).session_id == session
        assert read(SETTINGS, issue(SETTINGS, a_user(), NOW), NOW).session_id is None

    def test_claims_that_were_changed_after_signing_are_refused(self) -> None:
        header, _, signature = issue(SETTINGS, a_user(), NOW).split(".")
        with pytest.raises(Unauthenticated):
            read(SETTINGS, f"{header}.{coded(good_claims(sub=str(uuid4())))}.{signature}", NOW)

    def test_claims_that_are_no_object_are_refused(self) -> None:
        for payload in ("[]", "7", '"text"', "null", "{", "[" * 5000):
            body = base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")
            for token in (f"{coded({'alg': 'HS256'})}.{body}.", _resigned(payload)):
                with pytest.raises(Unauthenticated):
                    read(SETTINGS, token, NOW)

    @hypothesis_settings(max_examples=200)
    @given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]{0,20}(\.[A-Za-z0-9_-]{0,20}){0,5}")))
    def test_whatever_is_sent_is_refused_and_nothing_else(self, text: str) -> None:
        with pytest.raises(Unauthenticated):
            read(SETTINGS, text, NOW)

    @given(st.data())
    def test_any_one_changed_character_breaks_it(self, data: st.DataObject) -> None:
        token = issue(SETTINGS, a_user(), NOW)
        # The last character of the signature has bits that mean nothing (RFC 4648 3.5).
        place = data.draw(st.integers(0, len(token) - 2))
        other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[place]))
        with pytest.raises(Unauthenticated):
            read(SETTINGS, token[:place] + other + token[place + 1 :], NOW)


def _resigned(payload: str) -> str:
    header = {"alg": "HS256", "kid": key_id("k" * 40)}
    return jws.serialize_compact(header, payload, OctKey.import_key(RIGHT_KEY))
