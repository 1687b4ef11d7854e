"""Camera RAW: known by its content, and shown as the camera itself would show it."""

import io
from typing import TYPE_CHECKING

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base

from app.errors import TooLarge
from app.services.photo_metadata import MetadataBlocks

if TYPE_CHECKING:
    import rawpy

# First bytes that no other kind of file has.
SIGNATURES = {
    b"IIRO": "image/x-olympus-orf",
    b"IIRS": "image/x-olympus-orf",
    b"MMOR": "image/x-olympus-orf",
    b"IIU\x00": "image/x-panasonic-rw2",
    b"FUJIFILMCCD-RAW": "image/x-fuji-raf",
}
_TIFF = {b"II*\x00": b"II*\x00", b"MM\x00*": b"MM\x00*"}  # first bytes → those that Pillow knows
_TIFF |= {b"IIRO": b"II*\x00", b"IIRS": b"II*\x00", b"MMOR": b"MM\x00*", b"IIU\x00": b"II*\x00"}

# The others are TIFFs; what tells them apart is that they hold a sensor's pixels.
_DNG_VERSION = 50706
_SENSOR_PIXELS = {32803, 34892}  # PhotometricInterpretation: colour filter array, linear
_MAX_SUB_IFDS = 8
_MAKERS = {
    "NIKON": "image/x-nikon-nef",
    "SONY": "image/x-sony-arw",
    "PENTAX": "image/x-pentax-pef",
    "RICOH": "image/x-pentax-pef",
    "SAMSUNG": "image/x-samsung-srw",
}

MIN_PREVIEW = 1000  # px of the longer side; smaller ones, unless half the picture, are for the camera's display
_SRGB = (2.4, 12.92)  # power and slope
_TURNS = {
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}  # LibRaw's flip


def raw_mime(data: bytes) -> str | None:
    """The MIME type of a camera's RAW, or None if this is none; by the header only."""
    for signature, mime in SIGNATURES.items():
        if data.startswith(signature):
            return mime
    if data[4:12] == b"ftypcrx ":
        return "image/x-canon-cr3"
    if data[:4] not in _TIFF:
        return None
    if data[8:10] == b"CR":
        return "image/x-canon-cr2"
    try:
        return _mime_of_tiff(data)
    except Exception:  # Pillow raises whatever hostile bytes lead it to; such a TIFF is refused as one
        return None


def _mime_of_tiff(data: bytes) -> str | None:
    first = _directory(data, None)
    if _DNG_VERSION in first:
        return "image/x-adobe-dng"
    directories = [first, *(_directory(data, at) for at in first.get(Base.SubIFDs, ())[:_MAX_SUB_IFDS])]
    if not any(ifd.get(Base.PhotometricInterpretation) in _SENSOR_PIXELS for ifd in directories):
        return None
    make = str(first.get(Base.Make, "")).upper()
    return next((mime for maker, mime in _MAKERS.items() if make.startswith(maker)), "image/x-dcraw")


def _directory(data: bytes, offset: int | None) -> TiffImagePlugin.ImageFileDirectory_v2:
    ifd = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(ifd.next if offset is None else offset)
    ifd.load(file)
    return ifd


def raw_blocks(data: bytes) -> MetadataBlocks | None:
    """EXIF and XMP of those that are TIFFs; None for the others, whose preview has to tell."""
    if data[:4] not in _TIFF:
        return None
    exif = Image.Exif()
    try:
        exif.load(_TIFF[data[:4]] + data[4:])
        xmp = exif.get(Base.XMLPacket)
    except Exception:  # as in raw_mime
        return None
    return MetadataBlocks(exif, xmp if isinstance(xmp, bytes) else b"")


def develop(data: bytes, max_pixels: int, at_least: int | None) -> tuple[bytes, int, int]:
    """A picture that Pillow knows, and the width and height of the whole upright picture.

    That is the camera's own JPEG with an orientation in its EXIF, or an upright TIFF of the sensor's pixels, of
    half the size if no side falls below at_least px. Raises: TooLarge, and what LibRaw raises for damaged files.
    """
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        if sizes.raw_width * sizes.raw_height > max_pixels:
            raise TooLarge(
                f"The picture has {sizes.raw_width} × {sizes.raw_height} pixels; {max_pixels:,} are allowed."
            )
        width, height = (sizes.height, sizes.width) if sizes.flip & 4 else (sizes.width, sizes.height)
        picture = _preview(raw, width, height)
        if picture is None:
            half = at_least is not None and min(width, height) // 2 >= at_least
            linear = rawpy.DemosaicAlgorithm.LINEAR  # in a tenth of the time of the default, which is for prints
            pixels = raw.postprocess(demosaic_algorithm=linear, half_size=half, use_camera_wb=True, gamma=_SRGB)
            picture = _saved(Image.fromarray(pixels), "TIFF")
        return picture, width, height


def _preview(raw: "rawpy.RawPy", width: int, height: int) -> bytes | None:
    """The largest JPEG in the file, if it is large enough and whole; LibRaw puts the orientation into its EXIF."""
    import rawpy

    try:
        thumb = raw.extract_thumb()
        if thumb.format is not rawpy.ThumbFormat.JPEG:
            return None
        jpeg = bytes(thumb.data)
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as file:
            if max(file.size) < min(MIN_PREVIEW, max(width, height) // 2):
                return None
            turned = file.getexif().get(Base.Orientation, 1) >= 5
            lies = (file.width > file.height) ^ (width > height) ^ turned
            if lies and raw.sizes.flip in _TURNS:  # it had EXIF of its own, without an orientation
                return _saved(file.transpose(_TURNS[raw.sizes.flip]), "JPEG", quality=95)
            file.draft("RGB", (1, 1))
            file.load()
    except Exception:  # no preview, or a damaged one
        return None
    return jpeg


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
