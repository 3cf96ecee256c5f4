import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmstead.accounts import passwords
from ohmstead.accounts.passwords import (
    HashingThread,
    derive_key,
    hash_password,
    new_secret,
    secret_hash,
    secret_matches,
    verify,
)
from ohmstead.core.errors import Unavailable

KEY = "the secret key of an installation"


class TestPasswordsOfPeople:
    async def test_the_right_password_verifies_and_another_does_not(self) -> None:
        stored = await hash_password("correct horse")
        assert await verify("correct horse", stored)
        assert not await verify("Correct horse", stored)
        assert not await verify("correct horse ", stored)

    async def test_the_hash_is_argon2id_at_the_chosen_cost_and_salted(self) -> None:
        one, other = await hash_password("same"), await hash_password("same")
        assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert one != other
        assert len(one) <= 255

    async def test_nobody_has_a_password_and_the_work_is_done_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        real = passwords._argon2.verify

        class Spy:
            def verify(self, password: str, stored: str) -> bool:
                asked.append(stored)
                return real(password, stored)

        monkeypatch.setattr(passwords, "_argon2", Spy())
        assert not await verify("anything", None)
        assert asked[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    async def test_a_broken_hash_in_the_database_matches_nothing(self) -> None:
        assert not await verify("anything", "not a hash")
        assert not await verify("anything", "")

    async def test_an_accent_typed_in_two_pieces_is_the_same_password(self) -> None:
        stored = await hash_password("caf\u00e9 du nord")
        assert await verify("cafe\u0301 du nord", stored)


class TestHashingThread:
    async def test_one_more_than_the_limit_is_refused_and_there_is_room_again_afterwards(self) -> None:
        thread = HashingThread(limit=2)
        gate = threading.Event()
        held = [asyncio.ensure_future(thread.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)  # lets both put their work into the queue
        with pytest.raises(Unavailable):
            await thread.run(lambda: True)
        gate.set()
        assert await asyncio.gather(*held) == [True, True]
        assert await thread.run(lambda: "room") == "room"

    async def test_work_is_done_one_at_a_time_and_off_the_event_loop(self) -> None:
        thread = HashingThread()
        names = await asyncio.gather(*(thread.run(threading.get_ident) for _ in range(5)))
        assert len(set(names)) == 1
        assert names[0] != threading.get_ident()

    async def test_somebody_who_goes_away_while_waiting_makes_room(self) -> None:
        thread = HashingThread(limit=2)
        gate = threading.Event()
        at_work = asyncio.ensure_future(thread.run(gate.wait))
        waiting = asyncio.ensure_future(thread.run(gate.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        third = asyncio.ensure_future(thread.run(lambda: "third"))
        await asyncio.sleep(0)
        gate.set()
        assert await third == "third"
        assert await at_work

    async def test_an_error_of_the_work_reaches_the_caller_and_makes_room(self) -> None:
        thread = HashingThread(limit=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await thread.run(lambda: 1 // 0)


class TestSecretsOfOurs:
    def test_a_new_secret_fits_an_authorization_key_and_is_never_the_same(self) -> None:
        made = {new_secret() for _ in range(200)}
        assert len(made) == 200
        assert all(len(one) == 20 and one.isascii() and one.isalnum() for one in made)

    def test_a_secret_matches_its_hash_only_under_the_same_key(self) -> None:
        stored = secret_hash("s3cret", KEY)
        assert len(stored) == 64
        assert secret_matches("s3cret", stored, KEY)
        assert not secret_matches("s3creT", stored, KEY)
        assert not secret_matches("s3cret", stored, KEY + "x")

    def test_a_secret_matches_under_each_live_key(self) -> None:
        stored = secret_hash("s3cret", "old")
        assert secret_matches("s3cret", stored, KEY, "old")
        assert not secret_matches("s3cret", stored, KEY)

    def test_nothing_matches_where_no_secret_is_kept(self) -> None:
        assert not secret_matches("", None, KEY)
        assert not secret_matches("", "", KEY)

    def test_text_and_its_bytes_are_one_secret(self) -> None:
        assert secret_hash("schlüssel", KEY) == secret_hash("schlüssel".encode(), KEY)

    @settings(max_examples=50)
    @given(st.binary(max_size=60))
    def test_bytes_that_are_not_text_are_secrets_too(self, raw: bytes) -> None:
        stored = secret_hash(raw, KEY)
        assert secret_matches(raw, stored, KEY)
        assert secret_matches(raw.decode(errors="surrogateescape"), stored, KEY)
        assert not secret_matches(raw + b"x", stored, KEY)

    def test_keys_of_two_purposes_differ(self) -> None:
        assert derive_key(KEY, "access-token") != derive_key(KEY, "secret")
        assert len(derive_key(KEY, "secret")) == 32
