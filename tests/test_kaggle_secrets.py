"""Secrets are found by name and by content wherever they hide, and never printed.

The planted ones are put together here from halves, so that this file holds none.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import logging
import lzma
import os
import random
import re
import string
import subprocess
import tarfile
import uuid
import zipfile
from pathlib import Path

import pytest

from carlib.errors import CarlibError
from carlib.kaggle import secrets
from carlib.kaggle.secrets import find_secrets, refuse_secret_text, refuse_secrets
from carlib.kaggle.shapes import NAMES, SHAPES, kind_by_name, kind_in_text

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
DRAWN = random.Random(5)


def drawn(letters, count):
    return "".join(DRAWN.choices(letters, k=count))


LETTERS = string.ascii_letters
ALNUM = LETTERS + string.digits
HEX = "0123456789abcdef"
BIG = string.ascii_uppercase + "234567"

KEY = drawn(HEX, 32)
BODY = drawn(ALNUM, 64)
JWT = ".".join(
    base64.urlsafe_b64encode(text).decode().rstrip("=")
    for text in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', DRAWN.randbytes(32))
)
GITHUB = "gh" + "p_" + drawn(ALNUM, 36)

# What stands in a file, the part of it that must never be printed, and the kind.
PLANTED = {
    "kaggle.json": (f'{{"username":"alice","key":"{KEY}"}}', KEY, "a Kaggle key"),
    "kaggle.json, turned": (f"{{'key': '{KEY}', 'username': 'alice'}}", KEY, "a Kaggle key"),
    "kaggle.json, in a text": (
        f'"{{\\"username\\": \\"alice\\", \\"key\\": \\"{KEY}\\"}}"',
        KEY,
        "a Kaggle key",
    ),
    "kaggle.json, more keys": (
        f'{{"username": "alice", "extra": {{"a": 1}}, "since": 2020, "key": "{KEY}"}}',
        *(KEY, "a Kaggle key"),
    ),
    "kaggle.json, turned, more keys": (
        f'{{"key": "{KEY}", "extra": [1, 2], "username": "alice"}}',
        *(KEY, "a Kaggle key"),
    ),
    "kaggle.json, as arguments": (f"dict(username='alice', key='{KEY}')", KEY, "a Kaggle key"),
    "kaggle key": (f"export KAGGLE_KEY={KEY}\n", KEY, "a Kaggle key"),
    "kaggle key in Python": (f'os.environ["KAGGLE_KEY"] = "{KEY}"', KEY, "a Kaggle key"),
    "kaggle token": (f"KAGGLE_API_TOKEN=KGA{'T_'}{KEY}", KEY, "a Kaggle token"),
}
for name, secret, kind in (
    ("rsa", f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{BODY}", "a private key"),
    ("pkcs8", f"-----BEGIN {'PRIVATE'} KEY-----\r\n{BODY}", "a private key"),
    ("openssh", f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----\\n{BODY}", "a private key"),
    (
        "encrypted",
        f"-----BEGIN RSA {'PRIVATE'} KEY-----\nProc-Type: 4,ENCRYPTED\n\n{BODY}",
        "a private key",
    ),
    ("pgp", f"-----BEGIN PGP {'PRIVATE'} KEY BLOCK-----\n\n{BODY}", "a private key"),
    ("putty", f"PuTTY-User-Key-File-{'2'}: ssh-rsa", "a private key"),
    ("aws", "AK" + "IA" + drawn(BIG, 16), "an AWS key"),
    ("github", GITHUB, "a GitHub token"),
    (
        "github, fine",
        "github_" + "pat_" + drawn(ALNUM, 22) + "_" + drawn(ALNUM, 59),
        "a GitHub token",
    ),
    ("gitlab", "gl" + "pat-" + drawn(ALNUM, 18) + "7Q", "a GitLab token"),
    ("google", "AI" + "za" + drawn(ALNUM, 35), "a Google key"),
    ("google oauth", "ya" + "29." + drawn(ALNUM, 60), "a Google token"),
    ("google client", "GOC" + "SPX-" + drawn(ALNUM, 28), "a Google token"),
    ("slack", "xo" + "xb-" + "123456789012-123456789012-" + drawn(ALNUM, 24), "a Slack token"),
    ("slack app", "xa" + "pp-1-" + drawn(ALNUM, 30), "a Slack token"),
    (
        "slack hook",
        "https://hooks.slack.com/" + "services/T0AAAAAA/B0BBBBBB/" + drawn(ALNUM, 24),
        "a Slack address",
    ),
    ("hugging face", "h" + "f_" + drawn(LETTERS, 34), "a Hugging Face token"),
    ("openai", "sk" + "-proj-" + drawn(ALNUM, 48), "an API key"),
    ("openai, old", "sk" + "-" + drawn(ALNUM, 48), "an API key"),
    ("anthropic", "sk" + "-ant-api03-" + drawn(ALNUM + "_-", 92) + "A1", "an API key"),
    ("stripe", "sk" + "_live_" + drawn(ALNUM, 24), "a Stripe key"),
    ("sendgrid", "S" + "G." + drawn(ALNUM, 22) + "." + drawn(ALNUM, 43), "a SendGrid key"),
    ("pypi", "py" + "pi-AgEIcHlwaS5vcmc" + drawn(ALNUM, 80), "a PyPI token"),
    ("npm", "np" + "m_" + drawn(ALNUM, 36), "an npm token"),
    ("replicate", "r" + "8_" + drawn(ALNUM, 37), "a Replicate token"),
    ("databricks", "dap" + "i" + drawn(HEX, 32), "a Databricks token"),
    ("digitalocean", "dop" + "_v1_" + drawn(HEX, 64), "a DigitalOcean token"),
    ("telegram", "1234567890" + ":AA" + drawn(ALNUM, 32) + "7", "a Telegram token"),
    (
        "telegram, in an address",
        "https://api.telegram.org/bot1234567890" + ":AA" + drawn(ALNUM, 32) + "7/getMe",
        "a Telegram token",
    ),
    (
        "discord",
        "MT" + drawn(ALNUM, 24) + "." + drawn(ALNUM, 6) + "." + drawn(ALNUM, 37) + "7",
        "a Discord token",
    ),
    ("age", "AGE-SECRET-" + "KEY-1" + drawn(BIG, 58), "an age key"),
    ("azure", "Account" + "Key=" + drawn(ALNUM, 86) + "==", "an Azure key"),
    ("jwt", JWT, "a JSON web token"),
    ("login", "postgres://alice:" + "tiger42scott" + "@db.example.org/x", "a login in an address"),
):
    PLANTED[name] = (f"first = 1\nurl = '{secret}'\n", secret.split("\n")[-1][-16:], kind)
for name, text in (
    ("api key", 'api_key = "{}"'),
    ("api key, typed", "API_KEY: str = '{}'"),
    ("secret key in a dict", '{{"secret-key": "{}"}}'),
    ("setdefault", 'os.environ.setdefault("WANDB_API_KEY", "{}")'),
    ("environ", 'os.environ["HF_TOKEN"] = "{}"'),
    ("keyword", 'login(token="{}")'),
    ("yaml", "access_token: {}"),
    ("shell", "export MY_SECRET={}"),
    ("header", '"Authorization": "Bearer {}"'),
    ("curl", "-H 'Authorization: Bearer {}'"),
    ("toml", "password = '{}'"),
):
    value = drawn(ALNUM, 28) + "7q"
    PLANTED[name] = (text.format(value), value, "a password or key")
LONG = drawn(HEX, 40)
for name, text, kind in (
    ("wandb", 'wandb.login(key="{}")', "a key given to a call"),
    ("wandb, second", 'wandb.login(relogin=True, key="{}")', "a key given to a call"),
    ("wandb, unnamed", "wandb.login('{}')", "a key given to a call"),
    ("wandb, shell", "!wandb login --relogin {}", "a key given to a command"),
    ("flag", "tool --key {} --fast", "a key given to a command"),
    ("flag, in a list", 'run(["tool", "--api-key", "{}"])', "a key given to a command"),
    ("netrc", "machine api.wandb.ai\n  login user\n  password {}\n", "a login as in .netrc"),
    ("netrc, default", "default login a account b password {}", "a login as in .netrc"),
):
    for length, value in (("40", LONG), ("32", KEY)):
        PLANTED[f"{name}, {length}"] = (text.format(value), value, kind)
PLANTED["hex"] = (f"token: {KEY}", KEY, "a password or key")
PLANTED["odd"] = (f'PASSWORD = "{"v#7Kq!x@Zp$2mW^r"}"', "Kq!x@Zp$2", "a password or key")

INNOCENT = {
    "digest": f'{{"arrays.npz": "{drawn(HEX, 64)}", "sha256": "{drawn(HEX, 64)}"}}',
    "md5": f"key = '{drawn(HEX, 32)}'  # of the cache",
    "md5 of a call": f'cache.get(key="{drawn(HEX, 32)}")',
    "md5 and a name": f'{{"key": "{drawn(HEX, 32)}"}}, {{"username": "alice"}}',
    "netrc, explained": "machine HOST login USER password PASSWORD",
    "time": f"1234567890:{35 * '0'} 1234567890:the-words-of-a-line-in-a-log-at-9-07",
    "dotted": "MobileNetV3_large_features.config.the_name_of_another_thing_2",
    "databricks, short": "dapi" + 31 * "a" + " dapi_of_the_server_that_answers_20",
    "requirement": f"numpy==2.0.2 --hash=sha256:{drawn(HEX, 64)}",
    "uuid": f'{{"id": "{uuid.UUID(int=DRAWN.getrandbits(128))}", "cell_type": "code"}}',
    "commit": f"git+https://example.org/a.git@{drawn(HEX, 40)}",
    "words": "token = 'the-name-of-the-second-token-2'",
    "name": "secret = secrets.token_urlsafe_of_the_server_2(32)",
    "call": "token=tokenizer.convert_tokens_to_ids_2('x')",
    "index": 'password = config["database_password_2"]',
    "environ": 'token = os.environ["KAGGLE_API_TOKEN_2"]',
    "template": 'api_key = "${MY_API_KEY_NUMBER_2}"',
    "braces": "f'token={token_of_the_user_42!r}'",
    "placeholder": 'api_key = "your-api-key-goes-here-123"',
    "example": "AWS: AKIA" + "IOSFODNN7EXAMPLE",
    "stars": 'password = "****************7a"',
    "kaggle.json, empty": '{"username": "alice", "key": "<your key>"}',
    "login, template": "postgres://user:{password42}@host",
    "login, words": "https://user:password@host",
    "header only": f"-----BEGIN {'PRIVATE'} KEY-----",
    "certificate": f"-----BEGIN CERTIFICATE-----\n{BODY}",
    "public key": f"ssh-ed25519 {BODY} alice@host",
    "sk": "from sklearn; sk-container-id-1 sk-estimator-doc-link-and-more-and-more-2",
    "xml": '<a class="sk-toggleable__control sk-hidden--visually" id="sk-estimator-id-22">',
    "digits": "token: 00000000000000000000000000000012345",
    "short": 'password = "hunter2"',
    "prose": "A password: sixteen characters or more, with a digit such as 7.",
    "handover": '{"format": 1, "push": "3f2a-17", "recipe": "lite0-staged", "done": false}',
}


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def named(value):
    """Of a case: contents differ from process to process, and make no name."""
    return value if isinstance(value, str) and len(value) < 100 else "content"


def refusal(*paths):
    with pytest.raises(CarlibError) as caught:
        refuse_secrets(paths)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_secret_is_told_by_its_kind(name, tmp_path):
    text, hidden, kind = PLANTED[name]
    assert hidden in text
    path = put(tmp_path / "notes.txt", f"before\n{text}\nafter")
    assert find_secrets([path]) == {path: kind}
    said = refusal(path)
    assert f"{path}: {kind}" in said
    assert hidden not in said


def test_every_shape_is_met():
    """And by its own text: what another shape would find too counts for neither."""
    met = {
        shape
        for shape in SHAPES
        for text, _, kind in PLANTED.values()
        if kind == shape.kind and shape.is_in(text)
    }
    assert met == set(SHAPES)


@pytest.mark.parametrize("name", INNOCENT)
def test_innocent_look_alikes_pass(name, tmp_path):
    assert find_secrets([put(tmp_path / "notes.txt", INNOCENT[name])]) == {}


def test_the_source_tree_passes():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name]
    assert find_secrets([path for path in files if path.is_file()]) == {}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(
            (name, True)
            for name in ("kaggle.json", "KAGGLE.JSON", ".env", ".env.local", "prod.env")
        ),
        *(
            (name, True)
            for name in ("id_rsa", "id_ed25519", "server.pem", "a.KEY", "b.p12", "c.pfx")
        ),
        *((name, True) for name in ("access_token", "access_token.txt", "credentials.json")),
        *((name, True) for name in (".netrc", ".npmrc", ".pypirc", ".git-credentials", "a.kdbx")),
        *((name, True) for name in ("my-service-account.json", "client_secret_1.json", "x.ppk")),
        *((name, True) for name in ("application_default_credentials.json", "a.jks")),
        *((name, True) for name in ("id_rsa.bak", "id_rsa.old", "id_rsa~", "id_ed25519.orig")),
        *((name, True) for name in ("id_rsa.save", "id_rsa copy", "id_rsa.bak2~", ".netrc.bak2")),
        *((name, True) for name in ("kaggle (1).json", "kaggle - Copy.json", "kaggle.bak.json")),
        *((name, True) for name in ("Copy of kaggle.json", "server.pem.old", ".pypirc.backup")),
        *((name, False) for name in ("id_rsa.pub.bak", ".env.example~", "copy.json", "a.bak")),
        *((name, False) for name in ("id_rsa.pub", ".env.example", "environment.yml", "keys.py")),
        *((name, False) for name in ("kaggle.py", "kernel-metadata.json", "token.txt", "key")),
        *((name, False) for name in ("handover.json", "recipe.toml", "model.keras", "monkey.png")),
    ],
)
def test_some_names_are_enough(name, is_one, tmp_path):
    path = put(tmp_path / name, "nothing in it")
    assert bool(find_secrets([tmp_path])) is is_one
    if is_one:
        assert f"{path}: {kind_by_name(name)}" in refusal(path)


def test_the_kinds_of_names_are_told_apart():
    kinds = [kind for _, kind in NAMES]
    assert all(re.match(r"an? |$", kind) for kind in [*kinds, *(shape.kind for shape in SHAPES)])


def test_a_sample_of_a_name_is_judged_by_its_content(tmp_path):
    path = put(tmp_path / ".env.example", f"KAGGLE_KEY={KEY}")
    assert find_secrets([path]) == {path: "a Kaggle key"}


def test_all_files_are_named_and_no_secret_is(tmp_path):
    paths = [
        put(tmp_path / f"{at}/a.txt", text) for at, (text, _, _) in enumerate(PLANTED.values())
    ]
    paths.append(put(tmp_path / "b/.env", "A=1"))
    put(tmp_path / "b/fine.txt", "nothing")
    said = refusal(tmp_path)
    assert all(f"{path}: a" in said for path in paths)
    assert "fine.txt" not in said
    assert not any(hidden in said for _, hidden, _ in PLANTED.values())
    assert refusal(*paths).count(".txt") == len(paths) - 1


def test_a_name_is_printed_with_care(tmp_path):
    path = put(tmp_path / GITHUB / "two\nlines.txt", f"key {GITHUB}")
    said = refusal(path)
    assert GITHUB not in said
    assert "(a secret for a name)/two?lines.txt: a GitHub token" in said


@pytest.mark.parametrize(
    "name", [GITHUB, f"{GITHUB}.txt", f"a {GITHUB}.h5", f"{GITHUB}/a.txt", f"b/{GITHUB}/a.txt"]
)
def test_a_name_may_be_the_secret(name, tmp_path):
    path = put(tmp_path / "in" / name, "nothing in it")
    assert find_secrets([tmp_path / "in"]) == {path: "a GitHub token"}
    said = refusal(tmp_path / "in")
    assert "(a secret for a name)" in said
    assert GITHUB not in said
    # Of a file that is given by itself, its own name alone leaves.
    assert bool(find_secrets([path])) is (GITHUB in path.name)
    packed = put(tmp_path / "a.zip", zipped(**{name: b"nothing in it"}))
    assert find_secrets([packed]) == {packed / name: "a GitHub token"}
    assert GITHUB not in refusal(packed)


def test_what_is_behind_a_link_is_looked_into(tmp_path):
    put(tmp_path / "far/deep/a.txt", GITHUB)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "far")
    (tmp_path / "far/deep/round").symlink_to(tmp_path / "far")
    assert find_secrets([tmp_path / "in"]) == {tmp_path / "in/link/deep/a.txt": "a GitHub token"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_text_that_would_be_sent(name):
    text, hidden, kind = PLANTED[name]
    with pytest.raises(
        CarlibError, match=f"would leave with the notes, so nothing did: {kind}; take it out"
    ) as caught:
        refuse_secret_text("the notes", f"epoch 3, {text}")
    assert hidden not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", INNOCENT)
def test_a_text_that_may_be_sent(name):
    assert refuse_secret_text("the notes", INNOCENT[name]) is None


@pytest.mark.parametrize(
    "text",
    [
        f"\x1b[31m{GITHUB}\x1b[0m",
        f"\x1b[1;31mgh\x1b[0m{GITHUB[2:]}",
        f"user\x1b[0;32m{GITHUB}\x1b[0muser",
        f"\x1b]8;;https://example.org\x1b\\{GITHUB}",
    ],
)
def test_colours_hide_nothing(text, tmp_path):
    path = put(tmp_path / "a.log", f"before {text} after")
    assert find_secrets([path]) == {path: "a GitHub token"}
    for outputs in (
        [stream(text)],
        [stream([text[:HALF], text[HALF:]])],
        [{"output_type": "error", "traceback": ["\x1b[0;31mNameError", text]}],
    ):
        path = put(tmp_path / "a.ipynb", notebook(outputs=outputs))
        assert find_secrets([path]) == {path: "a GitHub token"}


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
@pytest.mark.parametrize("suffix", [".txt", ".h5", ".png", ""])
def test_any_encoding_and_any_suffix(encoding, suffix, tmp_path):
    path = put(tmp_path / f"a{suffix}", f"Grüße\nkey = {GITHUB}\n".encode(encoding))
    assert find_secrets([path]) == {path: "a GitHub token"}


@pytest.mark.parametrize("before", [0, 1000, secrets.CHUNK - 20, 2 * secrets.CHUNK + 7])
@pytest.mark.parametrize("around", [b"\0", b"\xff", b"\n"])
def test_within_a_large_binary_file(before, around, tmp_path):
    noise = DRAWN.randbytes(1 << 16) * (before // (1 << 16) + 1)
    content = noise[:before] + around + GITHUB.encode() + around + DRAWN.randbytes(1 << 16)
    path = put(tmp_path / "weights.h5", content)
    assert find_secrets([path]) == {path: "a GitHub token"}
    put(path, content.replace(GITHUB.encode(), DRAWN.randbytes(40)))
    assert find_secrets([path]) == {}


def notebook(source="1", outputs=()):
    cell = {"cell_type": "code", "id": "a1b2", "source": source, "outputs": list(outputs)}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


HALF = len(GITHUB) // 2
PICTURE = base64.b64encode(DRAWN.randbytes(1 << 20)).decode()


@pytest.mark.parametrize(
    "content",
    [
        notebook(f"token = '{GITHUB}'"),
        notebook(["import os\n", f"key = '{GITHUB[:HALF]}", f"{GITHUB[HALF:]}'\n"]),
        notebook(outputs=[stream(f"logged in with {GITHUB}\n")]),
        notebook(outputs=[stream(["with ", GITHUB[:HALF], GITHUB[HALF:], "\n"])]),
        notebook(outputs=[stream(GITHUB[:HALF]), stream([GITHUB[HALF:]])]),
        notebook(
            outputs=[
                stream(GITHUB[:HALF]),
                stream(["a warning\n"], "stderr"),
                stream([GITHUB[HALF:], "\n"]),
            ]
        ),
        notebook(outputs=[stream(GITHUB[:HALF]), stream(GITHUB[HALF:], "stderr")]),
        notebook(outputs=[stream(GITHUB), {"text": ["a", 1, None]}]),
        notebook(outputs=[{"output_type": "execute_result", "data": {"text/plain": [GITHUB]}}]),
        notebook(outputs=[{"output_type": "error", "traceback": ["line 1", f"key {GITHUB}"]}]),
        notebook(outputs=[{"data": {"image/png": PICTURE, "text/html": f"<b>{GITHUB}</b>"}}]),
        notebook(f"key {GITHUB}").replace(
            GITHUB, "".join(f"\\u{ord(each):04x}" for each in GITHUB)
        ),
    ],
    ids=named,
)
@pytest.mark.parametrize("name", ["train.ipynb", "train.json", "train.bin"])
def test_in_a_notebook(content, name, tmp_path):
    path = put(tmp_path / name, content)
    assert find_secrets([path]) == {path: "a GitHub token"}
    assert GITHUB not in refusal(path)
    assert GITHUB[HALF:] not in refusal(path)


def test_a_notebooks_pictures_pass(tmp_path):
    lines = re.findall(".{1,76}", PICTURE)
    outputs = [
        {"output_type": "display_data", "data": {"image/png": PICTURE, "text/plain": ["<Figure>"]}},
        {"output_type": "display_data", "data": {"image/png": [line + "\n" for line in lines]}},
    ]
    assert find_secrets([put(tmp_path / "a.ipynb", notebook(outputs=outputs))]) == {}
    odd = ("[" * 100_000, "{broken", "[]", '{"a": 1e5, "b": [1, null, "x"]}')
    for at, text in enumerate(odd):
        assert find_secrets([put(tmp_path / f"{at}.json", text)]) == {}


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(mode, **members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


KEYED = f"x = 1\nkey = '{GITHUB}'\n".encode()


@pytest.mark.parametrize(
    ("name", "content", "inner"),
    [
        ("a-1-py3-none-any.whl", zipped(**{"a/b.py": KEYED, "a/c.py": b""}), "a/b.py"),
        ("a.zip", zipped(**{"/a/b.py": KEYED}), "a/b.py"),
        ("a.npz", zipped(**{"x/.env": b"A=1", "y.txt": b"1"}), "x/.env"),
        ("a.zip", zipped(**{"in.zip": zipped(**{"k.txt": KEYED})}), "in.zip/k.txt"),
        ("a.tar", tarred("w", **{"k.txt": KEYED}), "k.txt"),
        ("a.tgz", tarred("w:gz", **{"k.txt": KEYED}), "k.txt"),
        ("a.tar.xz", tarred("w:xz", **{"kaggle.json": b"{}"}), "kaggle.json"),
        ("k.txt.gz", gzip.compress(KEYED), "k.txt"),
        ("k.txt.bz2", bz2.compress(KEYED), "k.txt"),
        ("k.txt.xz", lzma.compress(KEYED), "k.txt"),
        ("strange.h5", gzip.compress(KEYED), "strange"),
    ],
    ids=named,
)
def test_in_an_archive(name, content, inner, tmp_path):
    path = put(tmp_path / name, content)
    assert list(find_secrets([path])) == [path / inner]
    said = refusal(path)
    assert f"{path}/{inner}: a" in said
    assert GITHUB not in said


def test_every_member_is_named(tmp_path):
    members = {"a.py": KEYED, "b/.env": b"", "c.py": b"1", "d.txt": f"KAGGLE_KEY={KEY}".encode()}
    path = put(tmp_path / "a.whl", zipped(**members))
    assert {str(found.relative_to(path)): kind for found, kind in find_secrets([path]).items()} == {
        "a.py": "a GitHub token",
        "b/.env": "an environment file",
        "d.txt": "a Kaggle key",
    }


def test_innocent_archives_pass(tmp_path):
    inner = zipped(**{"a.py": b"x = 1"})
    for name, content in {
        "a.zip": zipped(**{"a.py": b"x = 1", "in.zip": inner, "folder/": b""}),
        "a.tar.gz": tarred("w:gz", **{"a.py": b"x = 1"}),
        "a.gz": gzip.compress(b"x = 1"),
    }.items():
        assert find_secrets([put(tmp_path / name, content)]) == {}


def nested(content, depth):
    for _ in range(depth):
        content = zipped(**{"in.zip": content})
    return content


def encrypted():
    content = bytearray(zipped(**{"k.txt": KEYED}))
    content[6] |= 1  # the flag bits of the member's own header, and of the directory's
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (nested(KEYED, secrets.DEPTH), "a GitHub token"),
        (nested(b"x = 1", secrets.DEPTH + 1), "an archive too deep within others to look into"),
        (encrypted(), "an archive that cannot be looked into (damaged or encrypted)"),
        (
            gzip.compress(KEYED)[:-12],
            "an archive that cannot be looked into (damaged or encrypted)",
        ),
        (
            lzma.compress(KEYED)[:-40],
            "an archive that cannot be looked into (damaged or encrypted)",
        ),
        (b"BZh" + 40 * b"\1", "an archive that cannot be looked into (damaged or encrypted)"),
    ],
    ids=named,
)
def test_what_cannot_be_looked_into_does_not_leave(content, kind, tmp_path):
    path = put(tmp_path / "a.bin", content)
    assert list(find_secrets([path]).values()) == [kind]
    assert kind in refusal(path)


def test_folders_are_walked_and_other_things_left(tmp_path):
    hidden = put(tmp_path / ".config/deep/.env", "A=1")
    os.mkfifo(tmp_path / "pipe")
    assert list(find_secrets([tmp_path])) == [hidden]
    assert find_secrets([]) == {}


def test_a_missing_file_is_not_a_clean_one(tmp_path):
    with pytest.raises(
        CarlibError, match=r"in .*gone\.txt: No such file or directory; make it read"
    ):
        find_secrets([tmp_path / "gone.txt"])


def test_a_huge_json_file_is_read_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "JSON_MOST", 10)
    assert find_secrets([put(tmp_path / "a.json", json.dumps(["ab", "cd", 5]))]) == {}
    path = put(tmp_path / "b.json", json.dumps([GITHUB]))
    assert find_secrets([path]) == {path: "a GitHub token"}


def test_nothing_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        find_secrets([put(tmp_path / "a.txt", KEYED)])
    assert not caplog.records
    assert kind_in_text("") == ""
