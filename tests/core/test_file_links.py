"""Links that carry their own right: only ours, only for their purpose, only as long as they say."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOW

from ohmstead.core.config import Settings
from ohmstead.core.errors import NotFound
from ohmstead.core.file_links import LinkEnded, Purpose, download_url, sign, subject_of, upload_url

UNTIL = NOW + timedelta(hours=1)
SUBJECT = UUID("12345678-1234-5678-1234-567812345678")


def test_a_token_names_its_subject_until_it_ends(settings: Settings) -> None:
    token = sign(settings, Purpose.DOWNLOAD, SUBJECT, UNTIL)
    assert subject_of(settings, Purpose.DOWNLOAD, token, NOW) == SUBJECT
    assert subject_of(settings, Purpose.DOWNLOAD, token, UNTIL - timedelta(seconds=1)) == SUBJECT
    with pytest.raises(LinkEnded) as ended:
        subject_of(settings, Purpose.DOWNLOAD, token, UNTIL)
    assert (ended.value.kind, ended.value.code) == ("gone", "LinkExpired")


def test_one_for_a_download_is_worth_nothing_for_an_upload(settings: Settings) -> None:
    token = sign(settings, Purpose.DOWNLOAD, SUBJECT, UNTIL)
    with pytest.raises(NotFound):
        subject_of(settings, Purpose.UPLOAD, token, NOW)


def test_one_of_another_installation_is_not_ours(settings: Settings) -> None:
    other = Settings.load(environment="test", secret_key="another secret that is long enough, too")
    token = sign(other, Purpose.UPLOAD, SUBJECT, UNTIL)
    with pytest.raises(NotFound):
        subject_of(settings, Purpose.UPLOAD, token, NOW)


@given(place=st.integers(0, 47), letter=st.sampled_from("ABCxyz019-_"))
def test_a_letter_that_was_changed_is_noticed_whatever_it_is(
    settings: Settings, place: int, letter: str
) -> None:
    token = sign(settings, Purpose.UPLOAD, SUBJECT, UNTIL)
    changed = token[:place] + letter + token[place + 1 :]
    if changed == token:
        assert subject_of(settings, Purpose.UPLOAD, changed, NOW) == SUBJECT
    else:
        with pytest.raises(NotFound):
            subject_of(settings, Purpose.UPLOAD, changed, NOW)


@given(st.text(max_size=60))
def test_what_is_made_up_is_unknown(settings: Settings, token: str) -> None:
    with pytest.raises(NotFound):
        subject_of(settings, Purpose.DOWNLOAD, token, NOW)


def test_a_later_end_cannot_be_written_into_it(settings: Settings) -> None:
    token = sign(settings, Purpose.UPLOAD, SUBJECT, UNTIL)
    raw = bytearray(base64.urlsafe_b64decode(token))
    raw[16:20] = (2**32 - 1).to_bytes(4, "big")
    with pytest.raises(NotFound):
        subject_of(settings, Purpose.UPLOAD, base64.urlsafe_b64encode(raw).decode(), NOW)


def test_an_end_that_is_too_far_away_is_the_last_one_there_is(settings: Settings) -> None:
    token = sign(settings, Purpose.UPLOAD, SUBJECT, datetime(3000, 1, 1, tzinfo=UTC))
    assert subject_of(settings, Purpose.UPLOAD, token, datetime(2105, 1, 1, tzinfo=UTC)) == SUBJECT


def test_links_come_from_the_public_address_only_and_are_short_enough_for_chargers(
    settings: Settings,
) -> None:
    public = settings.model_copy(update={"public_url": "https://charge.example.com"})
    link = download_url(public, uuid4(), "a b/ü?.bin", UNTIL)
    assert link.startswith("https://charge.example.com/files/")
    assert link.endswith("/a%20b%2F%C3%BC%3F.bin")
    assert len(download_url(public, uuid4(), "firmware-1.2.3.bin", UNTIL)) < 128
    left = upload_url(public, uuid4(), UNTIL)
    assert left.startswith("https://charge.example.com/uploads/")
    assert left.endswith("/"), "chargers put their file name right behind it"
    assert "?" not in left
