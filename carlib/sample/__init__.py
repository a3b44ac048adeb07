"""The embedded sample set: photos of ten drawn car models, laid out like the competition.

Enough to try a whole run without any download. The models differ in shape only,
so neither colours nor thumbnails tell them apart; a pretrained network does.
"""

from __future__ import annotations

from carlib.sample.write import draw, write_sample

__all__ = ["draw", "write_sample"]
