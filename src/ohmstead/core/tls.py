"""The certificate of this server: looked at before anything listens, so that a wrong one is told."""

import ssl
from pathlib import Path

from ohmstead.core.config import env_name
from ohmstead.core.errors import StartupError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a server that shows this chain (PEM, the server's own certificate first).

    Raises `StartupError` when a file cannot be read or is no PEM, when the key has a password, and when it
    is the key of another certificate.
    """
    for field, path in (("tls_cert", certificate), ("tls_key", key)):
        try:
            path.open("rb").close()  # OpenSSL does not say which of the two it misses
        except OSError as error:
            raise StartupError(
                f"{env_name(field)}: {path} cannot be read: {(error.strerror or str(error)).lower()}.",
                "Check the path, and that the user of Ohmstead may read the file.",
            ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Taken as empty, so that OpenSSL does not stop to ask for the password of an encrypted key.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        mismatch = getattr(error, "reason", None) == "KEY_VALUES_MISMATCH"
        raise StartupError(
            f"The key {key} is not that of the certificate {certificate}."
            if mismatch
            else f"The certificate {certificate} or its key {key} cannot be used: {error}.",
            f"Give the chain in PEM, the server's own certificate first, in {env_name('tls_cert')},"
            f" and its key without a password in {env_name('tls_key')}.",
        ) from None
    return context


def own_certificate(chain: Path) -> str:
    """Return the first certificate of a chain, which is the server's own, in PEM."""
    text = chain.read_text(encoding="utf-8", errors="replace")
    return text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
