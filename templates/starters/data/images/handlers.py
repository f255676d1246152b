"""What the routes call: an uploaded picture in, a thumbnail or its main colours out."""

import base64

from . import pictures


def thumbnail(event):
    """A JPEG of the picture in the body, at most ?size= pixels long (16 to 1024, 200 without)."""
    try:
        size = number(event, "size", 200, 16, 1024)
        body = pictures.thumbnail(pictures.read(picture_in(event)), size)
    except (pictures.NotAPicture, ValueError) as error:
        return refused(error)
    print("thumbnail", size, len(body), "bytes")
    return {"statusCode": 200, "headers": {"Content-Type": "image/jpeg"}, "body": body}


def colours(event):
    """The ?count= main colours of the picture in the body (2 to 12, 5 without)."""
    try:
        return pictures.colours(pictures.read(picture_in(event)), number(event, "count", 5, 2, 12))
    except (pictures.NotAPicture, ValueError) as error:
        return refused(error)


def picture_in(event):
    """The body's bytes, which an event carries as base64."""
    if not event.get("isBase64Encoded"):
        raise pictures.NotAPicture("send a picture as the body: curl --data-binary @photo.jpg …")
    return base64.b64decode(event["body"])


def number(event, name, default, least, most):
    text = event["query"].get(name, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or not least <= int(text) <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}")
    return int(text)


def refused(error):
    return {"statusCode": 400, "body": {"detail": str(error)}}
