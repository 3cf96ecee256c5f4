import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.accounts.emails import new_email, normalise_email
from ohmstead.core.errors import Invalid


class TestNormaliseEmail:
    @pytest.mark.parametrize(
        ("typed", "kept"),
        [
            ("Maya@Volt.CO", "maya@volt.co"),
            ("  maya@volt.co\n", "maya@volt.co"),
            ("a@xn--mnchen-3ya.de", "a@münchen.de"),
            ("Jose\u0301@example.com", "josé@example.com"),
            ("admin@ohmstead.local", "admin@ohmstead.local"),
            ("admin@localhost", "admin@localhost"),
            ("maya@demo.test", "maya@demo.test"),
            ("first.last+tag@sub.example.org", "first.last+tag@sub.example.org"),
        ],
    )
    def test_one_spelling_for_each_address(self, typed: str, kept: str) -> None:
        assert normalise_email(typed) == kept

    @pytest.mark.parametrize(
        "typed",
        ["", "maya", "@volt.co", "maya@", "a b@volt.co", "a@b@c.de", "Maya <maya@volt.co>", "m\x00@volt.co",
         "a@[127.0.0.1]", "x" * 255 + "@volt.co", "a@" + "b" * 260 + ".de", "a@x.invalid"],
    )  # fmt: skip
    def test_what_is_no_address_is_refused_by_its_field(self, typed: str) -> None:
        with pytest.raises(Invalid) as refused:
            normalise_email(typed)
        assert refused.value.fields["email"]

    @given(st.emails())
    def test_normalising_twice_changes_nothing(self, address: str) -> None:
        try:
            once = normalise_email(address)
        except Invalid:
            return  # a generated address may have a part that our package takes for none
        assert normalise_email(once) == once == once.lower()


class TestNewEmail:
    @pytest.mark.parametrize(
        "typed",
        [
            "maya@volt.co",
            "Jos\u00e9@example.com",
            "\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.com",
            "\u092e\u093e\u092f\u093e@\u0909\u0926\u093e\u0939\u0930\u0923.com",  # with marks
            "\u0645\u0627\u064a\u0627\u0661@\u0645\u062b\u0627\u0644.com",  # with a digit of its script
            "stra\u00dfe+7_a'b@\u00f8rsted.example",
        ],
    )
    def test_one_script_is_as_good_as_another(self, typed: str) -> None:
        assert new_email(typed) == normalise_email(typed)

    @pytest.mark.parametrize(
        "typed",
        [
            "m\u0430ya@volt.co",  # a Cyrillic a
            "\u0440\u0430\u0443\u0440\u0430\u04cf@volt.co",  # all Cyrillic, before a Latin domain
            "maya@v\u03bflt.co",  # a Greek o
            "\uff4daya@volt.co",  # a full-width m
            "m\u034faya@volt.co",  # a joiner that is not seen
            "maya\ufe0f@volt.co",  # a selector of variants, neither
            "\u2800maya@volt.co",  # a blank of Braille
            "MAY\u0130@volt.co",  # a dot above, on an i that has one
            "m\u0338aya@volt.co",  # a stroke through a letter
            "ma\u0131a@volt.co",  # an i without its dot
            "m\u0251ya@volt.co",  # an alpha that is Latin
            "\u1d0daya@volt.co",  # a small capital
            "maya@vo\u01c0t.co",  # a click
            "may\u09e6@volt.co",  # a zero of Bengali, like an o
            "may\u0660@volt.co",  # one of Arabic, like a dot
            "ma\u2019ya@volt.co",  # a sign beyond ASCII
        ],
    )
    def test_one_that_looks_like_another_is_refused(self, typed: str) -> None:
        with pytest.raises(Invalid) as refused:
            new_email(typed)
        assert refused.value.fields["email"]

    @pytest.mark.parametrize(
        "typed", ["a@b", "ravi@gmailcom", "admin@localhost", "ravi@1.2.3.4", "ravi@volt.7"]
    )
    def test_one_that_no_mail_can_reach_is_refused_with_what_is_wrong(self, typed: str) -> None:
        assert normalise_email(typed) == typed  # an account that has it signs in
        with pytest.raises(Invalid, match="domain") as refused:
            new_email(typed)
        assert "domain" in refused.value.fields["email"]

    @pytest.mark.parametrize("typed", ["admin@ohmstead.local", "maya@demo.test", "maya@4you.example"])
    def test_names_of_private_networks_are_as_good_as_others(self, typed: str) -> None:
        assert new_email(typed) == typed
