"""Pictures that people send: read by their pixels and written anew, so that nothing else of them is kept.

What a camera wrote beside the picture (where it was taken, by whom, a preview), what is no picture after its
end, and files that are two things at once do not outlive this.
"""

import io
import warnings
from typing import Final

from PIL import Image, ImageOps

from ohmstead.core.errors import Invalid

FORMATS: Final = ("JPEG", "PNG", "WEBP")
SIDE: Final = 1600
"""Pixels of the longer side at most: enough for a page, little enough for a telephone."""
PIXELS: Final = 50_000_000
"""A picture of more is refused before it is unpacked: a small file can hold a huge one."""
QUALITY: Final = 82
MEDIA_TYPE: Final = "image/jpeg"


def redrawn(data: bytes) -> bytes:
    """Return a picture as a JPEG of at most `SIDE` pixels, upright, in sRGB's three colours, on white.

    Takes as long as the picture is large: call it in a thread. Raises `Invalid` for what is no picture of
    `FORMATS`, is broken, or has more than `PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > PIXELS:
                    raise _refused(f"has more than {PIXELS // 1_000_000} million pixels")
                picture.draft("RGB", (SIDE, SIDE))  # a large JPEG is read at a half or a quarter
                upright = ImageOps.exif_transpose(picture)
                upright.thumbnail((SIDE, SIDE))
                written = io.BytesIO()
                _opaque(upright).save(written, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    except Invalid:
        raise
    except Exception as error:
        # Whatever a decoder stumbles over (a broken file raises many kinds of errors) is the sender's file.
        raise _refused("cannot be read as a picture") from error
    return written.getvalue()


def _opaque(picture: Image.Image) -> Image.Image:
    """Return the pixels alone, on white: what a picture carries with it (its `info`) would be written too."""
    ground = Image.new("RGB", picture.size, "white")
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        ground.paste(shown, mask=shown.getchannel("A"))
    else:
        ground.paste(picture.convert("RGB"))
    return ground


def _refused(why: str) -> Invalid:
    return Invalid(
        f"The picture {why}. Send a JPEG, PNG or WebP file.", fields={"body": why}, code="PictureUnreadable"
    )
