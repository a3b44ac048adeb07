"""Predictions: every photo, in order, by the best model; unreadable ones are not dropped."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from carlib.catalog import Catalog, read_catalog, read_test
from carlib.errors import RunError, UsageError
from carlib.images import fit, read_photo
from carlib.loader import Loader, View
from carlib.predict import make_forward, open_model, predict_photos, probabilities, wanted
from carlib.spec import with_settings
from carlib.submission import Predictions, write_submission
from carlib.train import train_model


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    from carlib.recipes import load_recipe

    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = with_settings(load_recipe("tiny-check"), ["model.resize=pad", "phases.all.epochs=1"])
    train_model(recipe, read_catalog(photos), out)
    return out


def test_predictions_are_the_models_on_each_photo_by_itself(run, photos):
    test = read_test(photos)
    found = predict_photos(run, test, batch_size=5)
    model = keras.models.load_model(run / "best/model.keras")
    assert found.ids == test.ids
    for path, row in zip(test.paths, found.probabilities, strict=True):
        alone = model(fit(read_photo(path), 32, "pad")[None], training=False)
        np.testing.assert_allclose(row, np.asarray(alone)[0], atol=1e-5)
    kept = Predictions.load(run / "predictions/test.npz")
    np.testing.assert_array_equal(kept.probabilities, found.probabilities)
    assert kept.ids == found.ids


@pytest.mark.parametrize("batch_size", [1, 5, 12, 64])
def test_batch_size_does_not_change_labels_or_order(run, photos, batch_size):
    test = read_test(photos)
    wanted = predict_photos(run, test, batch_size=12)
    found = predict_photos(run, test, batch_size=batch_size)
    assert found.ids == wanted.ids
    assert found.names() == wanted.names()
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5)


def test_unreadable_photos_get_the_training_shares_and_stay_in_the_submission(
    run, photos, tmp_path, caplog
):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    test = read_test(data)
    (data / "test_upload" / test.ids[3]).write_bytes(b"")
    (data / "test_upload" / test.ids[7]).write_text("<html>404</html>")
    found = predict_photos(run, test)
    assert found.ids == test.ids
    for number in (3, 7):
        np.testing.assert_allclose(found.probabilities[number], 1 / 3, atol=1e-6)
        assert test.ids[number] in caplog.text
    out = write_submission(found, tmp_path / "s.csv", data / "sample-submission.csv")
    assert len(out.read_text().splitlines()) == 1 + len(test)


def test_photos_none_of_which_can_be_read_still_get_a_row(run):
    found = predict_photos(run, Catalog(("a", "b"), ("a.jpg", "b.jpg")), name="none")
    np.testing.assert_allclose(found.probabilities, 1 / 3, atol=1e-6)


def test_labels_travel_in_the_runs_numbering(run, photos):
    labelled = read_catalog(photos).take(range(6))
    assert predict_photos(run, labelled, name="labelled").labels == labelled.labels
    fewer = Catalog(labelled.ids[:1], labelled.paths[:1], ("2",), (0,))
    assert predict_photos(run, fewer, name="labelled").labels == (2,)


def test_refusals(run, photos, tmp_path):
    with pytest.raises(UsageError, match="there are no photos to predict"):
        predict_photos(run, Catalog((), ()))
    with pytest.raises(RunError, match=r"model\.keras is not there.*run carlib train first"):
        predict_photos(tmp_path, read_test(photos))
    strange = Catalog(("a",), (read_test(photos).paths[0],), ("van",), (0,))
    with pytest.raises(UsageError, match="class 'van' of these photos is not known to the run"):
        predict_photos(run, strange)
    model, _ = open_model(run)
    loader = Loader(read_catalog(photos), View(32), batch_size=4, training=True)
    with pytest.raises(UsageError, match="catalog order"):
        probabilities(make_forward(model), loader)


def test_a_read_only_run_predicts(run, photos, tmp_path, caplog):
    """Kaggle's inputs are; a file in the folder's place refuses root's writes too."""
    shutil.copytree(run / "best", tmp_path / "best")
    (tmp_path / "predictions").write_text("in the way")
    assert len(predict_photos(tmp_path, read_test(photos)).ids) == 12
    assert "the predictions are not kept in the run folder" in caplog.text


@pytest.mark.parametrize("content", [b"", b"<html>error</html>"])
def test_a_damaged_model_is_named(run, tmp_path, content):
    shutil.copytree(run / "best", tmp_path / "best")
    (tmp_path / "best/model.keras").write_bytes(content)
    with pytest.raises(RunError, match=r"model\.keras is damaged or of another run"):
        open_model(tmp_path)


def test_a_missing_card_is_named(run, tmp_path):
    shutil.copytree(run / "best", tmp_path / "best")
    (tmp_path / "best/model.json").unlink()
    with pytest.raises(RunError, match=r"model\.json is not there"):
        open_model(tmp_path)


@pytest.fixture
def full(monkeypatch):
    """Let passes of more than so many photos run out of memory; return the sizes tried."""
    tried = []

    def limit(most):
        real = tf.constant

        def constant(photos):
            tried.append(len(photos))
            if len(photos) > most:
                said = "{{function_node x}} OOM when allocating tensor with shape[9] on /job:a"
                raise tf.errors.ResourceExhaustedError(None, None, said)
            return real(photos)

        monkeypatch.setattr(tf, "constant", constant)
        return tried

    return limit


def small_model(dtype="float32"):
    photos = keras.Input((4, 4, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D(dtype=dtype)(keras.ops.cast(photos, dtype))
    return keras.Model(photos, pooled)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_batch_that_does_not_fit_is_split_and_the_size_remembered(full, capsys, dtype):
    model = small_model(dtype)
    photos = np.random.default_rng(1).integers(0, 255, (11, 4, 4, 3), np.uint8)
    wanted = np.asarray(make_forward(model)(photos))
    tried = full(3)
    forward = make_forward(model)
    found = np.asarray(forward(photos))
    assert tried == [11, 5, 2, 2, 2, 2, 2, 1]
    assert found.dtype == wanted.dtype == dtype
    np.testing.assert_array_equal(found, wanted)
    tried.clear()
    np.testing.assert_array_equal(np.asarray(forward(photos[:4])), wanted[:4])
    np.testing.assert_array_equal(np.asarray(forward(photos[:1])), wanted[:1])
    assert tried == [2, 2, 1]
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "out of memory with 11 photos a forward pass; on with 5",
        "out of memory with 5 photos a forward pass; on with 2",
    ]


def test_one_photo_that_does_not_fit_is_an_error(full):
    full(0)
    said = r"one photo a forward pass \(OOM when allocating tensor with shape\[9\]\): lower model"
    with pytest.raises(RunError, match=said):
        make_forward(small_model())(np.zeros((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OOM when allocating tensor with shape[1] on /job:a", "OOM when allocating tensor with"),
        (
            "Graph execution error:\n\nOut of memory while trying\n\t[[x]]",
            "Out of memory while try",
        ),
        ("something\nelse", "something else"),
        ("x" * 300, "x" * 200),
    ],
)
def test_what_an_error_of_memory_wanted(text, said):
    assert wanted(MemoryError(text)).startswith(said)
    assert "\n" not in wanted(MemoryError(text))
    assert "/job" not in wanted(MemoryError(text))
