"""pip install -r requirements.txt, then: python3 tests/test_images.py"""

import base64
import io
import struct
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from images.handlers import colours, thumbnail
from PIL import Image


def picture(width=400, height=200, kind="PNG"):
    made = Image.new("RGB", (width, height), "#336699")
    made.paste("#ffcc00", (0, 0, width // 4, height))
    written = io.BytesIO()
    made.save(written, kind)
    return written.getvalue()


def event(data, **query):
    return {"body": base64.b64encode(data).decode(), "isBase64Encoded": True, "query": query}


def distance(one, other):
    return max(abs(int(one[at : at + 2], 16) - int(other[at : at + 2], 16)) for at in (1, 3, 5))


def test_a_thumbnail_keeps_the_shape():
    answer = thumbnail(event(picture(), size="100"))
    small = Image.open(io.BytesIO(answer["body"]))
    assert (answer["headers"]["Content-Type"], small.size) == ("image/jpeg", (100, 50))


def test_the_colours_come_with_their_shares():
    blue, yellow = colours(event(picture(), count="2"))
    assert abs(blue["share"] - 0.75) < 0.03
    assert abs(yellow["share"] - 0.25) < 0.03
    assert distance(blue["colour"], "#336699") < 8
    assert distance(yellow["colour"], "#ffcc00") < 8


def test_what_is_no_picture_is_refused_with_the_reason():
    for given in (event(b"\x00\x01nothing"), {"body": "text", "query": {}}, event(picture(), size="0")):
        answer = thumbnail(given)
        assert answer["statusCode"] == 400
        assert answer["body"]["detail"]


def test_a_huge_picture_is_refused_before_its_pixels_are_made():
    assert "pixels are more" in thumbnail(event(picture(6000, 5000)))["body"]["detail"]
    small = picture(8, 8)
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small[24:29]
    huge = small[:12] + head + struct.pack(">I", zlib.crc32(head)) + small[33:]
    assert "pixels are more" in thumbnail(event(huge))["body"]["detail"]


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
