"""Photo files of every mode to RGB; damaged ones refused; squares for the network."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from photos import draw, encode
from PIL import Image

from carlib import images
from carlib.errors import DataError, UsageError
from carlib.images import decode, fit, read_photo

PHOTO = draw()
HEIGHT, WIDTH = PHOTO.shape[:2]
GRAY = np.asarray(Image.fromarray(PHOTO).convert("L"))


def assert_near(photo: np.ndarray, expected: np.ndarray, tolerance: int) -> None:
    """The same photo but for compression: nowhere off by much, on the average by little."""
    assert photo.dtype == np.uint8
    assert photo.shape == expected.shape
    assert photo.flags.c_contiguous
    off = np.abs(photo.astype(int) - expected.astype(int))
    assert off.max() <= tolerance
    assert off.mean() <= tolerance / 4


def rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, None], 3, axis=2)


# ---------------------------------------------------------------- modes and formats

LOSSLESS = {"quality": 100, "subsampling": 0}

EXACT = {
    "PNG": encode(PHOTO, "PNG"),
    "BMP": encode(PHOTO, "BMP"),
    "TIFF": encode(PHOTO, "TIFF"),
    "TIFF, LZW": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "WebP": encode(PHOTO, "WEBP", lossless=True),
    "PNG, interlaced by OpenCV's writer": cv2.imencode(".png", PHOTO[..., ::-1])[1].tobytes(),
}


@pytest.mark.parametrize("kind", EXACT)
def test_lossless_formats(kind):
    assert_near(decode(EXACT[kind]), PHOTO, 0)


@pytest.mark.parametrize(
    "options",
    [
        LOSSLESS,
        {**LOSSLESS, "progressive": True},
        {**LOSSLESS, "optimize": True},
        {**LOSSLESS, "restart_marker_blocks": 2},
    ],
    ids=["baseline", "progressive", "optimized", "restarts"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode, options):
    content = encode(Image.fromarray(PHOTO).convert(mode), "JPEG", **options)
    assert_near(decode(content), rgb(GRAY) if mode == "L" else PHOTO, 4)


def test_jpeg_that_opencv_and_pillow_decode_alike():
    content = encode(PHOTO, "JPEG", quality=80)
    assert_near(decode(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "WEBP"])
def test_gray(kind):
    content = encode(GRAY, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert_near(decode(content), rgb(GRAY), 0)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(kind):
    image = Image.fromarray(PHOTO).quantize(17)
    assert_near(decode(encode(image, kind)), np.asarray(image.convert("RGB")), 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_one_bit(kind):
    image = Image.fromarray(GRAY > 100)
    assert image.mode == "1"
    assert_near(decode(encode(image, kind)), rgb(np.where(GRAY > 100, 255, 0)), 0)


ALPHA = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH))


def on_white(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255.0
    return np.rint(photo * share + 255 * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_parts_are_white(kind):
    image = Image.fromarray(np.dstack([PHOTO, ALPHA]))
    content = encode(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert_near(decode(content), on_white(PHOTO, ALPHA), 1)


def test_gray_with_transparent_parts():
    image = Image.merge("LA", (Image.fromarray(GRAY), Image.fromarray(ALPHA.copy())))
    assert_near(decode(encode(image)), on_white(rgb(GRAY), ALPHA), 1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour(kind):
    image = Image.fromarray(PHOTO).quantize(8)
    numbers = np.asarray(image)
    gone = int(numbers[0, 0])
    expected = np.where((numbers == gone)[:, :, None], 255, np.asarray(image.convert("RGB")))
    assert_near(decode(encode(image, kind, transparency=gone)), expected, 0)


def test_palette_with_half_transparent_colours():
    image = Image.fromarray(PHOTO).quantize(4)
    alphas = np.array([0, 80, 160, 255], np.uint8)
    expected = on_white(np.asarray(image.convert("RGB")), alphas[np.asarray(image)])
    assert_near(decode(encode(image, "PNG", transparency=alphas.tobytes())), expected, 1)


@pytest.mark.parametrize(("mode", "gone"), [("RGB", (250, 10, 20)), ("L", int(GRAY[0, 0]))])
def test_one_transparent_colour_of_a_png_without_alpha(mode, gone):
    image = Image.fromarray(PHOTO).convert(mode)
    expected = np.asarray(image.convert("RGB")).copy()
    expected[(np.asarray(image).reshape(HEIGHT, WIDTH, -1) == gone).all(axis=2)] = 255
    assert (expected == 255).any()
    assert_near(decode(encode(image, "PNG", transparency=gone)), expected, 0)


DEEP = GRAY.astype(np.uint16) * 257


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    assert_near(decode(encode(DEEP, kind)), rgb(GRAY), 0)


def test_sixteen_bits_big_endian():
    content = encode(
        Image.frombytes("I;16B", (WIDTH, HEIGHT), DEEP.astype(">u2").tobytes()), "TIFF"
    )
    assert_near(decode(content), rgb(GRAY), 0)


def test_sixteen_bits_of_colour():
    content = cv2.imencode(".png", PHOTO[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert_near(decode(content), PHOTO, 1)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_wide_numbers_within_a_byte_stay(mode):
    kind = np.int32 if mode == "I" else np.float32
    assert_near(decode(encode(Image.fromarray(GRAY.astype(kind)), "TIFF")), rgb(GRAY), 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame(kind):
    first = Image.fromarray(PHOTO).quantize(200).convert("RGB")
    others = [Image.fromarray(255 - PHOTO), Image.fromarray(PHOTO[::-1].copy())]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(first, kind, save_all=True, append_images=others, **options)
    with Image.open(io.BytesIO(content)) as written:
        assert written.n_frames == 3
    assert_near(decode(content), np.asarray(first), 0)


# ---------------------------------------------------------------- EXIF

TURNS = {
    1: lambda photo: photo,
    2: lambda photo: photo[:, ::-1],
    3: lambda photo: photo[::-1, ::-1],
    4: lambda photo: photo[::-1],
    5: lambda photo: photo.transpose(1, 0, 2),
    6: lambda photo: photo.transpose(1, 0, 2)[:, ::-1],
    7: lambda photo: photo[::-1, ::-1].transpose(1, 0, 2),
    8: lambda photo: photo.transpose(1, 0, 2)[::-1],
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_the_photo_tells_all_turns_apart():
    turned = [turn(PHOTO) for turn in TURNS.values()]
    for number, one in enumerate(turned):
        for other in turned[number + 1 :]:
            assert one.shape != other.shape or np.abs(one.astype(int) - other).mean() > 20


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", LOSSLESS),
        ("RGB", "JPEG", {**LOSSLESS, "progressive": True}),
        ("L", "JPEG", LOSSLESS),
        ("CMYK", "JPEG", LOSSLESS),
        ("RGB", "PNG", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("I;16", "PNG", {}),
        ("I;16", "TIFF", {}),
    ],
)
def test_orientation(orientation, mode, kind, options):
    image = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(PHOTO).convert(mode)
    upright = PHOTO if mode in ("RGB", "CMYK") else rgb(GRAY)
    content = encode(image, kind, exif=oriented(orientation), **options)
    assert_near(decode(content), TURNS[orientation](upright), 4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", TURNS)
def test_orientation_in_big_endian_exif(orientation):
    block = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    content = encode(PHOTO, "JPEG", exif=b"Exif\0\0" + block, **LOSSLESS)
    assert_near(decode(content), TURNS[orientation](PHOTO), 4)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_orientation_that_means_nothing(kind, orientation):
    options = LOSSLESS if kind == "JPEG" else {}
    content = encode(PHOTO, kind, exif=oriented(orientation), **options)
    assert_near(decode(content), PHOTO, 4)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("exif", [b"garbage", b"MM", b"II*\0\0\0\0\0"])
@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "RGB"), ("JPEG", "CMYK")])
def test_damaged_exif_leaves_the_pixels(kind, mode, exif):
    options = {**LOSSLESS, "exif": b"Exif\0\0" + exif} if kind == "JPEG" else {"exif": exif}
    content = encode(Image.fromarray(PHOTO).convert(mode), kind, **options)
    assert_near(decode(content), PHOTO, 4)


# ---------------------------------------------------------------- damaged photos


def exif_with_thumbnail() -> bytes:
    """EXIF whose second directory holds a whole JPEG, with an end marker of its own."""
    thumbnail = encode(draw(12, 16, seed=3), "JPEG")
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 26)
    at = 26 + 2 + 2 * 12 + 4
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, at)
    second += struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail)) + struct.pack("<I", 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + thumbnail


BLOCKY = {"quality": 75}  # chroma at half the size, blocks that stand over the photo's edge
CUT = {
    "JPEG": encode(PHOTO, "JPEG", **BLOCKY),
    "JPEG, optimized": encode(PHOTO, "JPEG", quality=60, optimize=True),
    "JPEG, gray": encode(GRAY, "JPEG", **BLOCKY),
    "JPEG, CMYK": encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", **BLOCKY),
    "JPEG, progressive": encode(PHOTO, "JPEG", progressive=True, **BLOCKY),
    "JPEG, progressive, gray": encode(GRAY, "JPEG", progressive=True, **BLOCKY),
    "JPEG, restarts": encode(PHOTO, "JPEG", restart_marker_blocks=2, **BLOCKY),
    "JPEG, thumbnail": encode(PHOTO, "JPEG", exif=exif_with_thumbnail(), **BLOCKY),
    "JPEG, thumbnail, progressive": encode(
        PHOTO, "JPEG", progressive=True, exif=exif_with_thumbnail(), **BLOCKY
    ),
    "PNG": encode(PHOTO, "PNG"),
    "PNG, palette": encode(Image.fromarray(PHOTO).quantize(9), "PNG"),
    "GIF": encode(PHOTO, "GIF"),
    "BMP": encode(draw(7, 9), "BMP"),
    "WebP": encode(PHOTO, "WEBP", lossless=True),
    "TIFF": encode(draw(7, 9), "TIFF"),
    "TIFF, LZW": encode(draw(7, 9), "TIFF", compression="tiff_lzw"),
}


def pixels(content: bytes) -> np.ndarray | None:
    try:
        return decode(content, "cut.jpg")
    except DataError as error:
        said = str(error)
    assert said.startswith("cut.jpg ")
    assert "\n" not in said
    assert " at 0x" not in said, "an address would make two equal runs differ"
    return None


def is_whole(content: bytes, whole: np.ndarray) -> bool:
    """Say whether the photo is taken; where it is, it must be the whole one."""
    photo = pixels(content)
    if photo is None:
        return False
    # The decoder of a photo without its marker is Pillow's, else OpenCV's: they round apart.
    assert_near(photo, whole, 2)
    return True


@pytest.mark.parametrize("kind", CUT)
def test_cut_at_every_length_a_photo_is_refused_or_whole(kind):
    content = CUT[kind]
    whole = decode(content)
    taken = [left for left in range(1, len(content) + 1) if is_whole(content[:-left], whole)]
    # What may be missing without a pixel: PNG's check sums and end chunk, GIF's end marks, the last
    # row's filling of BMP.
    idle = {"PNG": 21, "GIF": 2, "BMP": 1}.get(kind.split(",")[0], 0)
    assert max(taken, default=0) <= idle


@pytest.mark.parametrize("kind", [kind for kind in CUT if kind.startswith("JPEG")])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_counts_as_truncated(kind, missing):
    """Whether anything else is missing cannot be told from the pixels."""
    assert CUT[kind].endswith(images.JPEG_END)
    with pytest.raises(DataError, match=r"^photo is truncated$"):
        decode(CUT[kind][:-missing])


def test_a_thumbnails_end_marker_is_not_the_photos():
    content = CUT["JPEG, thumbnail"]
    assert content.count(images.JPEG_END) == 2
    assert content.count(images.JPEG_SCAN) == 2
    for length in (len(content) * 9 // 10, content.rfind(images.JPEG_SCAN) + 20):
        with pytest.raises(DataError, match=r"^a.jpg is truncated"):
            decode(content[:length], "a.jpg")


def test_bytes_behind_the_end_do_no_harm():
    for kind in ("JPEG", "JPEG, progressive", "PNG"):
        assert np.array_equal(decode(CUT[kind] + b"\0trailer\xff" * 50), decode(CUT[kind]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's on tags that make no sense
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF, LZW"])
def test_a_flipped_byte_is_a_photo_or_a_data_error(kind, capfd):
    content = CUT[kind]
    taken = 0
    for place in range(0, len(content), 1 + len(content) // 400):
        flipped = bytearray(content)
        flipped[place] ^= 0x85
        photo = pixels(bytes(flipped))
        if photo is not None:
            assert (photo.dtype, photo.ndim, photo.shape[2]) == (np.uint8, 3, 3)
            taken += 1
    assert taken < 400
    capfd.readouterr()  # the codecs' own complaints


NO_PHOTOS = {
    "text": b"not a photo at all\n" * 20,
    "HTML": b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>",
    "zeros": bytes(2000),
    "one byte": b"\xff",
    "start of a JPEG": b"\xff\xd8",
    "start of a PNG": b"\x89PNG\r\n\x1a\n",
    "zip": b"PK\x03\x04" + bytes(60),
    "PDF": b"%PDF-1.4\n",
}


@pytest.mark.parametrize("kind", NO_PHOTOS)
def test_no_photo(kind):
    with pytest.raises(
        DataError, match=r"^a\.jpg (is no photo of a known format|cannot be decoded)"
    ):
        decode(NO_PHOTOS[kind], "a.jpg")


def test_an_empty_file():
    with pytest.raises(DataError, match=r"^a\.jpg is empty \(0 bytes\)$"):
        decode(b"", "a.jpg")


def test_a_jpeg_that_opencv_gives_up_on(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: None)
    with pytest.raises(DataError, match=r"^photo cannot be decoded as JPEG$"):
        decode(CUT["JPEG"])


# ---------------------------------------------------------------- size


def claiming(width: int, height: int, kind: str) -> bytes:
    """A small photo file whose header claims another size."""
    if kind == "PNG":
        body = struct.pack(">II", width, height) + bytes([8, 2, 0, 0, 0])
        chunk = b"IHDR" + body
        content = EXACT["PNG"]
        return (
            content[:8]
            + struct.pack(">I", 13)
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + content[33:]
        )
    if kind == "BMP":
        content = EXACT["BMP"]
        return content[:18] + struct.pack("<ii", width, height) + content[26:]
    content = CUT["JPEG"]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as the room does
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (11_000, 10_000), (1, 65_000)])
def test_a_header_that_claims_much_is_refused_before_it_costs_memory(
    kind, width, height, monkeypatch
):
    def decoded(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "MAX_PIXELS", min(images.MAX_PIXELS, 60_000 * width))
    for name in ("_decode_jpeg", "_to_rgb"):
        monkeypatch.setattr(images, name, decoded)
    with pytest.raises(DataError, match=r"^a\.jpg (has \d+ x \d+ px, above the|is too large: )"):
        decode(claiming(width, height, kind), "a.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_border_of_max_pixels(kind, monkeypatch):
    content = encode(PHOTO, kind)
    monkeypatch.setattr(images, "MAX_PIXELS", HEIGHT * WIDTH)
    assert decode(content).shape == PHOTO.shape
    monkeypatch.setattr(images, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(DataError, match=r"^photo has 53 x 37 px, above the 0 million that carlib"):
        decode(content)


# ---------------------------------------------------------------- reading


def test_read_photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(EXACT["PNG"])  # the content counts, not the name
    assert np.array_equal(read_photo(str(tmp_path / "a.jpg")), PHOTO)


def test_read_photo_names_the_file(tmp_path):
    path = str(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"cannot read .*a\.jpg: No such file"):
        read_photo(path)
    (tmp_path / "a.jpg").write_bytes(CUT["JPEG"][:-40])
    with pytest.raises(DataError, match=r"/a\.jpg is truncated"):
        read_photo(path)


# ---------------------------------------------------------------- fit

SHAPES = [(37, 53), (53, 37), (40, 40), (1, 500), (500, 1), (1, 1), (16, 17), (300, 200), (7, 90)]


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [1, 16, 37, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_fit_gives_a_square_and_leaves_the_photo_alone(shape, size, resize):
    photo = draw(*shape)
    before = photo.copy()
    square = fit(photo, size, resize)
    assert (square.shape, square.dtype) == ((size, size, 3), np.uint8)
    assert square.flags.c_contiguous
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_square_of_the_right_size_is_left_as_it_is(resize):
    photo = draw(48, 48)
    assert np.array_equal(fit(photo, 48, resize), photo)


@pytest.mark.parametrize("resize", ["strech", "", "Crop", None])
def test_an_unknown_resize(resize):
    with pytest.raises(UsageError, match=r"^unknown resize .* Known: stretch, crop, pad$"):
        fit(PHOTO, 32, resize)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_one_colour_stays_one_colour(resize):
    for shape in SHAPES:
        photo = np.full((*shape, 3), (9, 99, 199), np.uint8)
        square = fit(photo, 24, resize).reshape(-1, 3)
        inside = square[square.any(axis=1)]
        assert len(inside)
        assert np.all(inside == (9, 99, 199))
        assert resize == "pad" or len(inside) == 24 * 24


@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        ((40, 90), (slice(0, 40), slice(25, 65))),
        ((90, 40), (slice(25, 65), slice(0, 40))),
        ((40, 45), (slice(0, 40), slice(2, 42))),
        ((1, 500), (slice(0, 1), slice(249, 250))),
    ],
)
def test_crop_takes_the_middle(shape, middle):
    photo = draw(*shape)
    side = min(shape)
    assert np.array_equal(fit(photo, side, "crop"), photo[middle])
    assert np.array_equal(fit(photo, 24, "crop"), fit(photo[middle], 24))


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((40, 80), slice(10, 30), slice(0, 40)),
        ((80, 40), slice(0, 40), slice(10, 30)),
        ((10, 20), slice(10, 30), slice(0, 40)),
        ((40, 40), slice(0, 40), slice(0, 40)),
        ((39, 80), slice(10, 30), slice(0, 40)),  # an odd row more goes below
        ((37, 80), slice(11, 29), slice(0, 40)),
        ((1, 500), slice(19, 20), slice(0, 40)),
        ((500, 1), slice(0, 40), slice(19, 20)),
    ],
)
def test_pad_keeps_the_aspect_between_black_borders(shape, rows, columns):
    photo = np.maximum(draw(*shape), 5)
    square = fit(photo, 40, "pad")
    inside = np.zeros((40, 40), bool)
    inside[rows, columns] = True
    assert np.array_equal(square.any(axis=2), inside)


def test_stretch_keeps_what_lies_where():
    for shape in [(370, 530), (20, 30), (30, 200)]:
        square = fit(draw(*shape), 60).astype(int)
        corners = square[[2, 2, -3], [2, -3, -3]]
        assert np.abs(corners - [(250, 10, 20), (15, 240, 30), (5, 25, 245)]).max() < 30


@pytest.mark.parametrize("shape", [(64, 96), (8, 96), (96, 8), (32, 96), (31, 96)])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_that_shrinks_averages_even_where_the_other_grows(shape, axis):
    """Stripes of a pixel become gray; sampled by their nearest neighbours they would alias."""
    length = shape[axis]
    if length < 64:
        length, shape = 96, (shape[::-1])
    stripes = (np.arange(length) % 2 * 255).astype(np.uint8)
    lines = stripes[:, None] if axis == 0 else stripes[None, :]
    photo = np.repeat(np.broadcast_to(lines, shape)[:, :, None], 3, axis=2)
    square = fit(photo, length // 3)  # the middle of each three, 0 or 255, is what would alias
    assert 80 < square.min() <= square.max() < 175


def test_growing_is_smooth():
    photo = np.zeros((2, 2, 3), np.uint8)
    photo[:, 1] = 200
    row = fit(photo, 16)[0, :, 0].astype(int)
    assert np.all(np.diff(row) >= 0)
    assert len(set(row)) > 4
    assert (row[0], row[-1]) == (0, 200)


def test_a_lack_of_memory_is_no_damaged_photo(monkeypatch):
    """The photo is whole: it must not be left out of training for a short squeeze."""

    def squeezed(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("carlib.images.Image.open", squeezed)
    with pytest.raises(MemoryError):
        decode(b"whole")


def test_formats_that_start_other_programs_are_not_tried():
    with pytest.raises(DataError, match="is no photo of a known format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_a_dark_16_bit_photo_stays_dark():
    dark = np.full((3, 5), 200, np.uint16)
    content = cv2.imencode(".png", dark)[1].tobytes()
    assert decode(content).max() == 1
