import ssl
from pathlib import Path

import pytest
from tests.cli.certificates import pair

from ohmstead.core.errors import StartupError
from ohmstead.core.tls import server_context


def fault_of(certificate: Path, key: Path) -> StartupError:
    with pytest.raises(StartupError) as caught:
        server_context(certificate, key)
    return caught.value


def test_a_pair_that_belongs_together_makes_the_context_of_a_server(tmp_path: Path) -> None:
    context = server_context(*pair(tmp_path, "a"))
    assert context.protocol == ssl.PROTOCOL_TLS_SERVER
    assert context.verify_mode == ssl.CERT_NONE, "chargers show no certificate of their own"


def test_a_file_that_is_not_there_is_told_by_the_name_of_its_setting(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path, "a")
    assert fault_of(tmp_path / "nowhere.pem", key).message.startswith("OHMSTEAD_TLS_CERT: ")
    fault = fault_of(certificate, tmp_path / "nowhere.key")
    assert fault.message.startswith("OHMSTEAD_TLS_KEY: ")
    assert "no such file" in fault.message


def test_a_folder_is_no_certificate(tmp_path: Path) -> None:
    _, key = pair(tmp_path, "a")
    assert "is a directory" in fault_of(tmp_path, key).message


@pytest.mark.parametrize(
    "garbage", [b"", b"garbage", b"\xff\xfe\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"]
)
def test_garbage_is_told_with_what_is_wanted(tmp_path: Path, garbage: bytes) -> None:
    certificate, key = pair(tmp_path, "a")
    (tmp_path / "garbage").write_bytes(garbage)
    for fault in (fault_of(tmp_path / "garbage", key), fault_of(certificate, tmp_path / "garbage")):
        assert "cannot be used" in fault.message
        assert "PEM" in fault.hint


def test_the_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    certificate, _ = pair(tmp_path, "a")
    _, other = pair(tmp_path, "b")
    assert f"{other} is not that of the certificate" in fault_of(certificate, other).message


def test_a_key_with_a_password_is_refused_and_the_password_not_asked_for(tmp_path: Path) -> None:
    assert "without a password" in fault_of(*pair(tmp_path, "a", password="hunter2")).hint
