"""Keras' .h5 weights files: every layout of the released ones, and what is refused."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest
from networks import built, enliven, write_h5

from carlib.errors import RunError
from carlib.models.build import build_model
from carlib.models.h5_file import load_h5, read_h5
from carlib.spec import ModelSpec


@pytest.fixture
def model():
    return build_model(ModelSpec("tiny", 32), 3, seed=1)


@pytest.fixture
def other():
    """The same network with other weights, as the file has them."""
    return enliven(build_model(ModelSpec("tiny", 32), 5, seed=2))


def backbone(model):
    return [layer for layer in model.layers if not layer.name.startswith("head_")]


def named(model, top=False):
    layers = model.layers if top else backbone(model)
    return [(layer.name, layer) for layer in layers]


def weighted(layers):
    return [(name, layer) for name, layer in layers if layer.weights]


LAYOUTS = {
    "without top": lambda path, model: write_h5(path, named(model)),
    "with top": lambda path, model: write_h5(path, named(model, top=True)),
    "names in parts": lambda path, model: write_h5(path, named(model), part=3),
    "in another order": lambda path, model: write_h5(path, named(model)[::-1]),
    "names counted up": lambda path, model: write_h5(
        path, [(f"layer_{number}", layer) for number, layer in enumerate(backbone(model), 7)]
    ),
    "some names counted up": lambda path, model: write_h5(
        path,
        [
            (name if number % 2 else f"layer_{number}", layer)
            for number, (name, layer) in enumerate(named(model))
        ],
    ),
    "a whole model": lambda path, model: model.save(path),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_backbone_takes_the_files_weights_and_the_head_keeps_its_own(
    tmp_path, model, other, layout
):
    path = tmp_path / "weights.h5"
    LAYOUTS[layout](path, other)
    head = model.get_layer("head_classes").get_weights()
    load_h5(model, path)
    for one, two in zip(backbone(model), backbone(other), strict=True):
        for ours, theirs in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=one.name)
    for ours, kept in zip(model.get_layer("head_classes").get_weights(), head, strict=True):
        np.testing.assert_array_equal(ours, kept)


def test_the_files_order_is_kept_and_layers_without_weights_left_out(tmp_path, model):
    found = read_h5(write_h5(tmp_path / "weights.h5", named(model)))
    assert list(found) == [name for name, _ in weighted(named(model))]
    assert [array.shape for array in found["stem_bn"]] == [(16,)] * 4


def without(name):
    return lambda layers: [pair for pair in layers if pair[0] != name]


def wider(layers):
    photos = keras.Input((32, 32, 3))
    conv = keras.layers.Conv2D(17, 3, use_bias=False, name="stem_conv")
    conv(photos)
    return [(name, conv if name == "stem_conv" else layer) for name, layer in layers]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("top_bn"), "holds 15 layers of weights, the model has 16, and 15 have the same"),
        (lambda layers: [*layers, ("more", layers[2][1])], "holds 17 layers.*the model has 16"),
        (wider, r"'stem_conv' of .* has the shapes \[\(3, 3, 3, 17\)\], 'stem_conv' of the model"),
        (
            lambda layers: [("a", layers[3][1]), *without("stem_conv")(layers)],
            r"'a' of .* has the shapes \[\(16,\), .*, 'stem_conv' of the model \[\(3, 3, 3, 16\)\]",
        ),
    ],
    ids=["a layer less", "a layer more", "wider", "another layer"],
)
def test_the_file_of_another_network_changes_nothing(tmp_path, model, other, change, message):
    before = model.get_weights()
    path = write_h5(tmp_path / "weights.h5", change(named(other)))
    with pytest.raises(RunError, match=f"{message}.*are they weights of another backbone"):
        load_h5(model, path)
    for ours, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, kept)


def test_the_file_of_another_backbone_is_refused(tmp_path):
    path = write_h5(tmp_path / "weights.h5", named(built("efficientnet-b0")))
    with pytest.raises(RunError, match="are they weights of another backbone than xception"):
        load_h5(built("xception"), path)


def shorter(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def unlisted(path):
    with h5py.File(path, "a") as file:
        del file["top_bn"]


def unnumbered(path):
    with h5py.File(path, "a") as file:
        del file["stem_conv"]["stem_conv/kernel:0"]
        file["stem_conv"]["stem_conv/kernel:0"] = "text"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("<html>404: Not\nFound</html>"), "signature not found"),
        (lambda path: path.write_bytes(b""), "not a whole Keras"),
        (lambda path: path.unlink(), "not a whole Keras.*No such file"),
        (shorter, "not a whole Keras.*truncated"),
        (unlisted, "not a whole Keras.*top_bn"),
        (unnumbered, "not a whole Keras.*not defined"),
    ],
    ids=["a page", "empty", "gone", "truncated", "a group missing", "no numbers"],
)
def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path, model, spoil, message):
    path = write_h5(tmp_path / "weights.h5", named(model))
    spoil(path)
    with pytest.raises(RunError, match=rf"weights\.h5.*{message}") as caught:
        read_h5(path)
    assert "\n" not in str(caught.value)


def test_the_layout_of_keras_3_is_told_apart(tmp_path, model):
    model.save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(
        RunError, match=r"lists no layers: .*\.weights\.h5 of Keras 3 is in another"
    ):
        load_h5(model, tmp_path / "new.weights.h5")
