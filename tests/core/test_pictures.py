"""Pictures that come from anybody: only their pixels are kept."""

import io
import struct
import zlib

import pytest
from PIL import Image

from ohmstead.core import pictures
from ohmstead.core.errors import Invalid

SECRET = b"taken at 51.5007 N, 0.1246 W by Ada"


def picture(
    kind: str = "JPEG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: object
) -> bytes:
    """A red one."""
    made = Image.new(mode, size, "red" if mode in {"RGB", "RGBA", "P"} else 0)
    written = io.BytesIO()
    made.save(written, kind, **options)
    return written.getvalue()


def seen(data: bytes) -> Image.Image:
    shown = Image.open(io.BytesIO(data))
    shown.load()
    return shown


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB")],
)
def test_what_cameras_and_programs_write_becomes_a_jpeg(kind: str, mode: str) -> None:
    shown = seen(pictures.redrawn(picture(kind, mode=mode)))
    assert (shown.format, shown.mode, shown.size) == ("JPEG", "RGB", (60, 40))


def test_nothing_that_was_noted_beside_the_picture_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    original = picture(exif=exif, comment=SECRET) + SECRET
    assert SECRET in original
    drawn = pictures.redrawn(original)
    assert SECRET not in drawn
    assert not seen(drawn).getexif()


def test_one_that_a_camera_held_on_its_side_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert seen(pictures.redrawn(picture(size=(60, 40), exif=exif))).size == (40, 60)


def test_a_large_one_becomes_small_and_keeps_its_shape() -> None:
    assert seen(pictures.redrawn(picture(size=(4000, 3000)))).size == (pictures.SIDE, pictures.SIDE * 3 // 4)


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    written = io.BytesIO()
    clear.save(written, "PNG")
    assert min(seen(pictures.redrawn(written.getvalue())).getpixel((5, 5))) > 250  # type: ignore[arg-type]


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that says it has so many pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        picture("GIF", mode="P"),
        picture("TIFF"),
        picture()[:200],
        bomb(10, 10),
        bomb(8000, 8000),
        bomb(100_000, 100_000),
    ],
    ids=["nothing", "text", "svg", "gif", "tiff", "cut off", "without pixels", "large", "huge"],
)
def test_what_cannot_be_a_photo_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(Invalid, match="Send a JPEG, PNG or WebP file"):
        pictures.redrawn(data)
