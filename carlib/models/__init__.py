"""Backbones with their scaling inside, heads, and the classifier built from a ModelSpec.

This module is the table, free of TensorFlow; ``carlib.models.build`` builds.
"""

from carlib.models.table import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone"]
