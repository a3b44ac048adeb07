"""Released files: where they are looked for, and that only whole ones are taken."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest

from carlib.errors import RunError, UsageError
from carlib.models import releases
from carlib.models.releases import Release, attached, fetch
from carlib.session import Session

NAME, CONTENT = "net_notop.h5", b"the whole file"
DIGESTS = {kind: hashlib.new(kind, CONTENT).hexdigest() for kind in ("md5", "sha256")}


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def release(tmp_path):
    """One whose address answers."""
    return Release(NAME, put(tmp_path / "server/net.h5").as_uri(), DIGESTS["md5"])


@pytest.fixture
def offline(tmp_path):
    return Release(NAME, (tmp_path / "nowhere/net.h5").as_uri(), DIGESTS["md5"])


@pytest.mark.parametrize("kind", DIGESTS)
def test_the_digest_says_its_kind_and_is_compared(tmp_path, kind):
    release = Release(NAME, "https://example.org", DIGESTS[kind])
    assert release.algorithm == kind
    assert release.is_whole(put(tmp_path / "a"))
    assert not release.is_whole(put(tmp_path / "b", CONTENT[:-1]))


@pytest.mark.parametrize("digest", ["", "0" * 40, "Z" * 32])
def test_no_digest_no_release(digest):
    with pytest.raises(UsageError, match=f"MD5 or SHA-256 in hex digits; got '{digest}'"):
        Release(NAME, "https://example.org", digest)


@pytest.mark.parametrize(
    "place", ["", "weights/", "datasets/me/weights/", "models/me/net/keras/notop/1/"]
)
def test_an_attached_file_is_found_wherever_it_is_mounted(tmp_path, offline, place):
    path = put(tmp_path / "input" / place / NAME)
    assert fetch(offline, [tmp_path / "input"], tmp_path / "cache") == path


def test_the_sessions_inputs_are_searched(tmp_path, offline, monkeypatch):
    path = put(tmp_path / "input/weights" / NAME)
    session = Session(inputs=(tmp_path / "input",))
    monkeypatch.setattr(releases, "detect_session", lambda: session)
    assert fetch(offline, cache=tmp_path / "cache") == path


def test_shallow_files_come_first_and_a_folder_of_that_name_is_none(tmp_path):
    deep = put(tmp_path / "a/b" / NAME)
    shallow = put(tmp_path / "z" / NAME)
    (tmp_path / "b" / NAME).mkdir(parents=True)
    inside = put(tmp_path / "b" / NAME / NAME)
    assert list(attached(NAME, [tmp_path / "gone", tmp_path])) == [shallow, deep, inside]


def test_the_search_ends(tmp_path, monkeypatch):
    put(tmp_path / "1/2/3" / NAME)
    (tmp_path / "1/2/back").symlink_to(tmp_path)
    assert len(list(attached(NAME, [tmp_path]))) == 1
    for limit, least in (("DEPTH", 3), ("FOLDERS", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(releases, limit, least)
            assert len(list(attached(NAME, [tmp_path]))) == 1
            patch.setattr(releases, limit, least - 1)
            assert list(attached(NAME, [tmp_path])) == []


def test_a_damaged_attached_file_is_passed_over_for_a_whole_one(tmp_path, offline):
    put(tmp_path / "a" / NAME, CONTENT[:5])
    whole = put(tmp_path / "b/c" / NAME)
    assert fetch(offline, [tmp_path], tmp_path / "cache") == whole


def test_what_is_not_attached_is_downloaded_once(tmp_path, release, capsys):
    cache = tmp_path / "cache"
    cache.mkdir()
    found = fetch(release, [tmp_path / "input"], cache)
    assert found == cache / "models" / NAME
    assert found.read_bytes() == CONTENT
    assert capsys.readouterr().out == ""
    (tmp_path / "server/net.h5").unlink()
    assert fetch(release, [], cache) == found


@pytest.mark.parametrize("left", [b"", CONTENT[:5], b"<html>Log in</html>"])
def test_what_an_interrupted_download_left_is_not_taken_for_whole(tmp_path, release, left):
    cache = tmp_path / "cache"
    put(cache / "models" / NAME, left)
    assert fetch(release, [], cache).read_bytes() == CONTENT


def test_a_download_that_is_not_the_file_is_refused(tmp_path, release):
    cache = tmp_path / "cache"
    cache.mkdir()
    put(tmp_path / "server/net.h5", b"<html>Log in</html>")
    for _ in range(2):  # what it left is not taken either
        with pytest.raises(RunError, match=r"download failed: Incomplete or corrupted file"):
            fetch(release, [], cache)
    put(tmp_path / "server/net.h5")
    assert fetch(release, [], cache).read_bytes() == CONTENT


def test_offline_the_message_names_file_address_and_setting(tmp_path, offline):
    cache = tmp_path / "cache"
    cache.mkdir()
    damaged = put(tmp_path / "input" / NAME, CONTENT[:5])
    for roots, but in (([], ""), ([tmp_path / "input"], rf" \({damaged} is damaged, or .*\)")):
        with pytest.raises(
            RunError,
            match=rf"^{NAME} is not attached{but}, not in Keras' cache, and its download failed: "
            rf"URL fetch failure.*; attach {NAME}, from {offline.url}, as a dataset, or give its "
            r"path as model\.weights$",
        ):
            fetch(offline, roots, cache)
        assert os.listdir(cache / "models") == []


def test_a_silent_connection_fails_and_others_are_as_before(tmp_path, offline, monkeypatch):
    """A server that takes the connection and says nothing."""
    monkeypatch.setattr(releases, "STALL", 0.2)
    (tmp_path / "cache").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}/{NAME}"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(RunError, match=r"download failed: .*timed out"):
            fetch(Release(NAME, silent, DIGESTS["md5"]), [], tmp_path / "cache")
    assert socket.getdefaulttimeout() is None
