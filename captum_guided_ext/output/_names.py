"""What files are called that belong to a picture."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePath

from captum_guided_ext.output._text import UNPRINTABLE

_UNFIT = re.compile(rf'[\s{UNPRINTABLE}/\\:*?"<>|]+')
# Windows takes them for devices, whatever their ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])(\..*)?", re.IGNORECASE)
_MOST_BYTES = 120  # file systems take 255, and endings and the names of maps are still to come


def file_stem(name: str) -> str:
    """Return what files that belong to a picture are called, without their endings.

    Characters that some system does not take in a name, and white space, become "-". A name that
    Windows reserves gets a "_" in front. A long name is cut, and ends in a digest of the whole.

    Args:
        name: The picture's, with or without an ending.
    """
    stem = _fit(PurePath(name).stem.strip(". "), name, _MOST_BYTES) or "picture"
    return f"_{stem}" if _RESERVED.fullmatch(stem) else stem


def name_part(name: str) -> str:
    """Return a name as a part of a file's, as :func:`file_stem` does, with its ending."""
    return _fit(name, name, _MOST_BYTES // 2) or "map"


def _fit(part: str, name: str, most: int) -> str:
    composed = unicodedata.normalize("NFC", part)  # macOS takes both forms of é for one name
    fit = _UNFIT.sub("-", composed).strip("-. ")
    if len(fit.encode()) <= most:
        return fit
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{fit.encode()[:most].decode(errors='ignore')}-{digest}"
