import pytest
from pydantic import BaseModel, ValidationError

from ohmstead.core.errors import NotFound
from ohmstead.core.text import Text
from ohmstead.core.time_zones import TimeZone
from ohmstead.stations.parameters import charger_id_of_path
from ohmstead.stations.texts import (
    Amenities,
    ChargerIdText,
    Country,
    Password,
    WebAddress,
    charger_id_fault,
    country_codes,
)


class Everything(BaseModel):
    text: Text = ""
    charger_id: ChargerIdText = "CP"
    password: Password = "12345678"
    country: Country = "PT"
    time_zone: TimeZone = "UTC"
    photo_url: WebAddress = "https://example.com"
    amenities: Amenities = []


class TestChargerIds:
    @pytest.mark.parametrize(
        "good", ["C", "CP001", "x" * 48, "site/CP1", "AA:BB:CC", "a.b-c_d~e!", "+49*123*456"]
    )
    def test_printable_ascii_is_an_id(self, good: str) -> None:
        assert Everything(charger_id=good).charger_id == good

    @pytest.mark.parametrize(
        "bad",
        [
            "",
            "x" * 49,
            "CP 1",
            "CP%2F1",
            "CP?1",
            "CP#1",
            "CP\n",
            "CP\x7f",
            "CP\x00",
            "Ladesäule",
            "/CP",
            "CP/",
            ".",
            "..",
        ],
    )
    def test_what_would_not_survive_a_url_is_refused(self, bad: str) -> None:
        assert charger_id_fault(bad) is not None
        with pytest.raises(ValidationError):
            Everything(charger_id=bad)


class TestPathIds:
    @pytest.mark.parametrize("written", ["site/CP1", "site%2FCP1", "site%2fCP1", "%73ite%2FCP1"])
    def test_a_slash_comes_encoded_or_not(self, written: str) -> None:
        assert charger_id_of_path(written) == "site/CP1"

    @pytest.mark.parametrize("written", ["%00", "CP%0A", "CP%252F1", "%FF", "x" * 49])
    def test_what_is_no_id_is_not_found(self, written: str) -> None:
        with pytest.raises(NotFound):
            charger_id_of_path(written)


def test_country_codes_are_those_of_iso_3166() -> None:
    assert len(country_codes()) == 249
    assert Everything(country="de").country == "DE"


@pytest.mark.parametrize(
    ("bad", "said"), [("UK", "is GB"), ("XX", "ISO 3166"), ("DEU", "two letters"), ("", "two")]
)
def test_another_country_is_refused(bad: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Everything(country=bad)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("europe/lisbon", "did you mean Europe/Lisbon"),
        ("Mars/Base", "IANA"),
        ("../../etc/passwd", "IANA"),
        ("+02:00", "IANA"),
    ],
)
def test_another_time_zone_is_refused(bad: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Everything(time_zone=bad)


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://example.com/a",
        "javascript:alert(1)",
        "https://",
        "example.com",
        "https://u:p@example.com",
        "https://a b",
        "https://[x",
        "http://a\x00",
    ],
)
def test_a_photo_is_a_web_address(bad: str) -> None:
    with pytest.raises(ValidationError):
        Everything(photo_url=bad)


@pytest.mark.parametrize("bad", ["short", "x" * 129, "with space", "pässword1", "newline1\n", " leading1"])
def test_a_password_is_printable_ascii_of_8_to_128_characters(bad: str) -> None:
    with pytest.raises(ValidationError):
        Everything(password=bad)


def test_repeated_amenities_are_one() -> None:
    assert Everything(amenities=["Toilets", " Toilets", "Wifi"]).amenities == ["Toilets", "Wifi"]


@pytest.mark.parametrize(
    "bad", [["x" * 61], ["\x00"], [""], ["a"] + [str(n) for n in range(50)], "Toilets", [1]]
)
def test_amenities_are_a_short_list_of_short_texts(bad: object) -> None:
    with pytest.raises(ValidationError):
        Everything.model_validate({"amenities": bad})


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(ValidationError, match="NUL"):
        Everything(text="a\x00b")
