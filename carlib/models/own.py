"""Backbones and heads of a user's own, beside carlib's: registered, looked up, called.

Free of TensorFlow, as the table is; ``carlib.models.build`` and ``carlib.models.head`` check what
they lay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carlib.errors import UsageError, look_up
from carlib.models.table import BACKBONES, OWN, Backbone
from carlib.registry import Registry


@dataclass(frozen=True, slots=True)
class Own:
    """A registered backbone.

    Args:
        backbone: Its row.
        features: From photos and drop_connect to the last feature map.
        weights: Loads weights into the built model; None where it has none.
    """

    backbone: Backbone
    features: Callable[..., Any]
    weights: Callable[[Any, str], None] | None = None

    def lay(self, photos: Any, drop_connect: float) -> Any:
        """Return what its features make of photos; what they raise becomes one line."""
        with _own.told(self.backbone.name, "features"):
            return self.features(photos, drop_connect=drop_connect)

    def load(self, model: Any, source: str) -> None:
        """Have its weights loaded; what that raises becomes one line."""
        with _own.told(self.backbone.name, "weights"):
            assert self.weights is not None  # check_model has looked
            self.weights(model, source)


Head = Callable[[Any, int], Any]
_own: Registry[Own] = Registry("backbone", lambda: BACKBONES)
_heads: Registry[Head] = Registry("head", lambda: ())


def add_backbone(
    backbone: Backbone,
    features: Callable[..., Any],
    weights: Callable[[Any, str], None] | None = None,
) -> None:
    """Register a backbone of your own under its name, for every recipe of this process.

    Args:
        backbone: Of the family "own".
        features: ``features(photos, *, drop_connect)``: from a Keras tensor (B, S, S, 3), RGB,
            0..255, to the last feature map (B, H, W, C). It scales the photos itself, and is
            built of single layers of ``keras.layers``, each named by its block, bottom first:
            stem_..., block1a_..., top_....
        weights: ``weights(model, source)``: loads pretrained weights into the built model;
            ``source`` is the recipe's ``model.weights``, one of ``backbone.weights`` or the path
            of a file that is there. Defaults to none.

    Raises:
        UsageError: A name of carlib's own, a name registered with something else (the same
            again replaces it), another family, no function, or names of weights without one.

    >>> from carlib.models.tiny import tiny_features
    >>> add_backbone(Backbone("small", size=32), tiny_features)
    >>> known()["small"].family
    'own'
    >>> forget("small")
    """
    name = backbone.name
    if backbone.family != OWN:
        raise UsageError(
            f"backbone {name!r} is of the family {backbone.family!r}; yours are of 'own', the "
            "default"
        )
    if not callable(features):
        raise UsageError(
            f"features of backbone {name!r} must be a function of photos and drop_connect; "
            f"received {features!r}"
        )
    if weights is None and backbone.weights:
        raise UsageError(
            f"backbone {name!r} names weights ({', '.join(backbone.weights)}) and has no function "
            "that loads them; give one as weights, or name none"
        )
    if weights is not None and not callable(weights):
        raise UsageError(
            f"weights of backbone {name!r} must be a function of model and source; received "
            f"{weights!r}"
        )
    _own.add(name, Own(backbone, features, weights))


def known() -> dict[str, Backbone]:
    """Return all backbones by name: the table's, then those registered."""
    return BACKBONES | {name: own.backbone for name, own in _own.things.items()}


def least_side(name: str) -> int:
    """Return the smallest photo side that a backbone takes, in px; 1 of a name nobody knows."""
    backbone = known().get(name)
    return backbone.least if backbone else 1


def own(name: str) -> Own:
    """Return what a name of the family "own" was registered with."""
    return _own.things[name]


def forget(name: str) -> None:
    """Take a backbone of your own out again; a name that is not there is none."""
    _own.forget(name)


def add_head(name: str, head: Head) -> None:
    """Register a head of your own, for every recipe of this process.

    Args:
        name: What a recipe's ``model.head`` says.
        head: ``head(pooled, classes)``: from the pooled features, a Keras tensor (B, C), and the
            number of classes to what the classifier sees, (B, N). It is built of single layers of
            ``keras.layers``, each with a name of its own that begins with head_.

    Raises:
        UsageError: No function, or a name registered with something else (the same again replaces
            it).

    >>> add_head("plain", lambda pooled, classes: pooled)
    >>> check_head("plain")
    >>> forget_head("plain")
    """
    if not callable(head):
        raise UsageError(
            f"head {name!r} must be a function of pooled and classes; received {head!r}"
        )
    _heads.add(name, head)


def check_head(name: str) -> None:
    """Raise UsageError where no head of that name is registered; "" stands for carlib's own."""
    if name and not _heads.things:
        raise UsageError(
            f"unknown head {name!r}: none is registered; put its add_head into a Python file and "
            "give that to --use, or leave model.head at ''"
        )
    if name:
        look_up(_heads.things, name, "head")


def lay_head(name: str, pooled: Any, classes: int) -> Any:
    """Return what a registered head makes of pooled features; what it raises becomes one line."""
    with _heads.told(name):
        return _heads.things[name](pooled, classes)


def forget_head(name: str) -> None:
    """Take a head of your own out again; a name that is not there is none."""
    _heads.forget(name)
