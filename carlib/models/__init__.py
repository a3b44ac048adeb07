"""Backbones with their scaling inside, heads, and the classifier built from a ModelSpec.

This module is the table, and who adds to it, free of TensorFlow; ``carlib.models.build`` builds.
"""

from carlib.models.own import add_backbone, add_head
from carlib.models.table import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone", "add_backbone", "add_head"]
