"""Pictures: from bytes that somebody sent to pixels, and what can be made of them."""

import io

import numpy
from PIL import Image, ImageOps

PIXELS = 24_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


class NotAPicture(Exception):
    """The bytes are no picture that is taken here; the message says why."""


def read(data: bytes) -> Image.Image:
    """The picture, upright, in RGB. A small file can be a huge picture: its size is looked at before its pixels."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > PIXELS:
            raise NotAPicture(f"{picture.width} x {picture.height} pixels are more than {PIXELS:,}")
        return ImageOps.exif_transpose(picture).convert("RGB")
    except NotAPicture:
        raise
    except Image.DecompressionBombError:
        # Pillow's own limit is higher, and comes first.
        raise NotAPicture(f"its pixels are more than {PIXELS:,}") from None
    except (OSError, ValueError, SyntaxError):
        raise NotAPicture(f"this is no picture of the kinds {', '.join(FORMATS)}") from None


def thumbnail(picture: Image.Image, size: int) -> bytes:
    """A JPEG whose longer side has at most `size` pixels."""
    small = picture.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "JPEG", quality=85)
    return written.getvalue()


def colours(picture: Image.Image, count: int) -> list[dict]:
    """The `count` colours that cover most of it, by k-means over a small copy, each with its share from 0 to 1."""
    small = picture.copy()
    small.thumbnail((96, 96))
    pixels = numpy.asarray(small, dtype=numpy.float32).reshape(-1, 3)
    # Begins evenly spread over the brightness, so that the same picture always gives the same colours.
    order = numpy.argsort(pixels.sum(axis=1), kind="stable")
    centres = pixels[order[numpy.linspace(0, len(order) - 1, count).astype(int)]]
    for _ in range(12):
        nearest = ((pixels[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        for index in range(count):
            members = pixels[nearest == index]
            if len(members):
                centres[index] = members.mean(axis=0)
    shares = numpy.bincount(nearest, minlength=count) / len(pixels)
    found = [
        {"colour": "#{:02x}{:02x}{:02x}".format(*centre.round().astype(int)), "share": round(float(share), 3)}
        for centre, share in zip(centres, shares, strict=True)
        if share > 0
    ]
    return sorted(found, key=lambda one: -one["share"])
