"""One spelling for the address of a client."""

import pytest

from ohmstead.core.addresses import forwarded_address, plain_address


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::1"),
        ("unknown", "unknown"),
        ("a:b::c:d:e:f:g", "a:b::c:d:e:f:g"),
        ("", ""),
    ],
)
def test_one_of_ipv4_is_written_as_such(told: str, plain: str) -> None:
    assert plain_address(told) == plain


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:4711 ", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_a_proxy_writes_may_have_a_port(told: str, address: str) -> None:
    assert forwarded_address(told) == address
