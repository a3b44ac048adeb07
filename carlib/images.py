"""A photo file to an RGB array, whatever its mode, and to the square a network sees."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from carlib.archives import read_bytes
from carlib.errors import DataError, UsageError, suggestion
from carlib.spec import RESIZES

MAX_PIXELS = 100_000_000  # 300 MB as RGB; above it a photo is taken for a mistake or a bomb
# Not all that Pillow knows: its EPS plugin starts another program. Its JPEG
# plugin reads MPO too, the JPEG of phones with two lenses.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"

# decode() refuses large photos itself, from Pillow's own header.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
cv2.setNumThreads(0)  # the loader's workers are the parallelism; nested threads only fight them


def decode(content: bytes, name: str = "photo") -> np.ndarray:
    """Return the photo in ``content`` as RGB, uint8, shape (height, width, 3).

    EXIF orientation is applied; grayscale, CMYK, palette and 16-bit become 8-bit RGB;
    transparent parts become white.

    Args:
        content: The bytes of the file.
        name: What to call it in errors.

    Raises:
        DataError: Empty, damaged, truncated, of an unknown format, or above MAX_PIXELS.

    >>> content = cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tobytes()
    >>> decode(content).shape
    (2, 3, 3)
    """
    if not content:
        raise DataError(f"{name} is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as photo:
            width, height = photo.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name} has {width} x {height} px, above the {MAX_PIXELS / 1e6:.0f} million "
                    "that carlib decodes"
                )
            if photo.format == "JPEG":
                if not _ended(content):
                    raise DataError(f"{name} is truncated")
                if photo.mode in ("RGB", "L"):
                    return _decode_jpeg(content, name)
            return _to_rgb(photo)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is no photo of a known format") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large: {error}") from error
    # Pillow's plugins raise many kinds on damaged files, SyntaxError and struct.error among them.
    except Exception as error:
        raise DataError(f"{name} cannot be decoded: {error}") from error


def _ended(content: bytes) -> bool:
    """Say whether a JPEG's last scan has an end marker behind it.

    OpenCV decodes JPEG faster than Pillow, but fills what is missing of a truncated one with
    gray and says nothing.
    """
    return content.rfind(JPEG_END) > content.rfind(JPEG_SCAN)


def _decode_jpeg(content: bytes, name: str) -> np.ndarray:
    photo: np.ndarray | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if photo is None:
        raise DataError(f"{name} cannot be decoded as JPEG")
    return photo


def _to_rgb(photo: Image.Image) -> np.ndarray:
    photo.load()
    try:
        photo = ImageOps.exif_transpose(photo)
    # Damaged EXIF, of as many kinds as damaged photos: the pixels are as they are.
    except Exception:
        photo = photo.copy()
    if photo.mode.startswith("I") or photo.mode == "F":
        # Pillow clips 16-bit values at 255 when converting; scale them instead. The modes I and F
        # say nothing of the range that their values use.
        values = np.asarray(photo, np.float64)
        deep = photo.mode.startswith("I;16") or values.max(initial=0) > 255
        top = 65535.0 if deep else 255.0
        gray: np.ndarray = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return np.array(photo.convert("RGB"))


def read_photo(path: str) -> np.ndarray:
    """Return the photo at ``path`` (or ``archive.zip!/member``) as ``decode`` does."""
    return decode(read_bytes(path), path)


def fit(photo: np.ndarray, size: int, resize: str = "stretch") -> np.ndarray:
    """Return the photo as a square of ``size`` px.

    Args:
        photo: uint8, shape (height, width, 3).
        size: Side in px.
        resize: "stretch", "crop" (middle square) or "pad" (black borders).

    Raises:
        UsageError: Unknown resize.

    Shrinking averages areas, so that fine patterns do not alias; growing is bilinear.

    >>> fit(np.zeros((40, 90, 3), np.uint8), 32, "pad").shape
    (32, 32, 3)
    """
    if resize not in RESIZES:
        raise UsageError(f"unknown resize {resize!r}{suggestion(resize, RESIZES)}")
    height, width = photo.shape[:2]
    if resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        photo = photo[top : top + side, left : left + side]
    elif resize == "pad":
        scale = size / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = np.zeros((size, size, 3), np.uint8)
        top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
        square[top : top + inner[1], left : left + inner[0]] = _resize(photo, inner)
        return square
    return _resize(photo, (size, size))


def _resize(photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = photo.shape[:2]
    # An axis that shrinks does so by areas even where the other one grows.
    smaller = min(width, shape[0]), min(height, shape[1])
    if smaller != (width, height):
        photo = cv2.resize(photo, smaller, interpolation=cv2.INTER_AREA)
    if smaller != shape:
        photo = cv2.resize(photo, shape, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(photo)
