"""What a secret looks like: the names of files that hold some, and the shapes in a text.

Sources: the issuers' own pages on their tokens, and the rules of gitleaks.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

# Of files, in lower case; the first that fits counts. A sample is judged by its content.
NAMES = (
    (".env.example .env.sample .env.template .env.dist", ""),
    ("kaggle.json", "a Kaggle key file"),
    (".env .env.* *.env", "an environment file"),
    ("id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk *.ppk", "an SSH key file"),
    ("*.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx", "a key file"),
    ("access_token access_token.*", "an access token file"),
    ("credentials credentials.json credentials.toml .git-credentials", "a credentials file"),
    ("client_secret*.json *service?account*.json serviceaccount*.json", "a Google key file"),
    ("application_default_credentials.json", "a Google key file"),
    (".netrc _netrc .npmrc .pypirc .pgpass .htpasswd .dockercfg", "a file of logins"),
)


# What a copy of a file has more in its name: id_rsa.bak, kaggle (1).json, Copy of kaggle.json.
SPARE = re.compile(
    r"^copy of |(?:~|[._ -]+(?:bak|backup|copy|old|orig|save)\d*| ?\(\d+\))+(?=$|\.[^.]+$)"
)
# What colours a terminal: it may stand before a secret, or within one.
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,999}(?:\x07|\x1b\\)")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of secret looks like.

    Args:
        kind: For the message.
        pattern: Regular expression. Its group 1, where it has one, is the secret.
        judge: Says whether group 1 is one. Defaults to any being one.
    """

    kind: str
    pattern: re.Pattern[str]
    judge: Callable[[str], bool] | None = None

    def is_in(self, text: str) -> bool:
        """Whether a text holds one."""
        found = self.pattern.finditer(text)
        return any(self.judge is None or self.judge(match[1]) for match in found)


_TEMPLATE = re.compile(
    r"[{}<>]|\$\(|%\(|example|placeholder|redacted|change.?me|dummy|your[_-]|xxxx|\*\*\*\*|"
    r"123456789|abcdef",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]{4,}|[A-Za-z][a-z]{3,}")


def is_random(value: str) -> bool:
    """Whether a value was drawn, not written: no template, not made of words, many symbols.

    >>> [is_random(value) for value in ("8Kq2vX0pLw7RtYz3", "efficientnet-b0-noisy-student")]
    [True, False]
    """
    if _TEMPLATE.search(value) or not re.search(r"[\d!@#$^&*+~|]", value):
        return False
    letters = len(re.findall(r"[A-Za-z]", value))
    if re.fullmatch(r"[0-9a-fA-F-]+", value):
        return letters > 0 and entropy(value) > 2.9
    words = (word for word in _WORD.findall(value) if _vowels(word) >= 0.3 * len(word))
    return sum(map(len, words)) <= 0.6 * letters and letters > 0 and entropy(value) > 3.3


def _vowels(word: str) -> int:
    return len(re.findall(r"[aeiou]", word.lower()))


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text's characters, in bits a character.

    >>> entropy("aabb")
    1.0
    """
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_login(value: str) -> bool:
    return bool(re.search(r"\d", value)) and not _TEMPLATE.search(value)


_Q = r"""(?:\\?["'`])"""  # a quote, perhaps escaped within a JSON text
_START, _END = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"
_NAME = (
    r"(?i:(?:api|access|auth|secret|private|account|client|encryption|subscription)[ _-]?key"
    r"|token|secret|passwd|password|passphrase|pwd|credentials?|authorization)"
)
_SCHEME = r"(?i:bearer |basic |token )?"
_GAP = r"[\s=,\"'\\]{1,8}"  # of two words of a command, in a shell or in a list
_BETWEEN = r"(?:[^{}]|\{[^{}]{0,200}\}){1,300}?"  # of two keys of the same dict

SHAPES = (
    Shape(
        "a private key",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"[\s\S]{0,300}?[A-Za-z0-9+/=]{32}"
        ),
    ),
    Shape("a private key", re.compile(r"PuTTY-User-Key-File-\d: \w")),
    Shape(
        "a Kaggle key",
        re.compile(
            rf"\busername{_Q}?\s*[:=]{_BETWEEN}\bkey{_Q}?\s*[:=]\s*{_Q}([0-9a-f]{{32}}){_Q}"
        ),
        is_random,
    ),
    Shape(
        "a Kaggle key",
        re.compile(
            rf"\bkey{_Q}?\s*[:=]\s*{_Q}([0-9a-f]{{32}}){_Q}{_BETWEEN}\busername{_Q}?\s*[:=]"
        ),
        is_random,
    ),
    Shape(
        "a Kaggle key",
        re.compile(rf"KAGGLE_KEY{_Q}?\]?\s*[=:,]\s*{_Q}?([0-9a-f]{{32}}){_END}"),
        is_random,
    ),
    Shape("a Kaggle token", re.compile(rf"{_START}KGAT_[0-9A-Za-z]{{16,}}")),
    Shape(
        "an AWS key",
        re.compile(rf"{_START}(?:AKIA|ASIA|ABIA|ACCA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{{16}}{_END}"),
    ),
    Shape("a GitHub token", re.compile(rf"{_START}gh[pousr]_[0-9A-Za-z]{{36,}}{_END}")),
    Shape("a GitHub token", re.compile(rf"{_START}github_pat_[0-9A-Za-z_]{{60,}}{_END}")),
    Shape(
        "a GitLab token",
        re.compile(rf"{_START}gl(?:pat|dt|rt|ptt|soat|cbt)-([0-9A-Za-z_-]{{20,}})"),
        is_random,
    ),
    # Within base64, where a picture may have anything, it is nobody's.
    Shape(
        "a Google key",
        re.compile(rf"{_START}(?<![+/=])AIza[0-9A-Za-z_-]{{35}}(?![0-9A-Za-z_+/=-])"),
    ),
    Shape("a Google token", re.compile(rf"{_START}ya29\.[0-9A-Za-z_-]{{30,}}")),
    Shape("a Google token", re.compile(rf"{_START}GOCSPX-[0-9A-Za-z_-]{{24,}}")),
    Shape("a Slack token", re.compile(rf"{_START}xox[abeoprs]-(?:\d+-)*[0-9A-Za-z-]{{16,}}")),
    Shape("a Slack token", re.compile(rf"{_START}xapp-\d-[0-9A-Za-z-]{{20,}}")),
    Shape("a Slack address", re.compile(r"hooks\.slack\.com/services/T\w+/B\w+/\w{16,}")),
    Shape("a Hugging Face token", re.compile(rf"{_START}(?:hf|api_org)_[0-9A-Za-z]{{34,}}{_END}")),
    Shape(
        "an API key",  # OpenAI's, Anthropic's, and those that look like them
        re.compile(rf"{_START}sk-(?:proj|svcacct|admin|None|ant-\w+)-([0-9A-Za-z_-]{{32,}})"),
        is_random,
    ),
    Shape("an API key", re.compile(rf"{_START}sk-([0-9A-Za-z]{{32,}}){_END}"), is_random),
    Shape("a Stripe key", re.compile(rf"{_START}[rs]k_live_[0-9A-Za-z]{{24,}}{_END}")),
    Shape("a SendGrid key", re.compile(rf"{_START}SG\.[0-9A-Za-z_-]{{22}}\.[0-9A-Za-z_-]{{43}}")),
    Shape("a PyPI token", re.compile(rf"{_START}pypi-AgE[0-9A-Za-z_-]{{50,}}")),
    Shape("an npm token", re.compile(rf"{_START}npm_[0-9A-Za-z]{{36}}{_END}")),
    Shape("a Replicate token", re.compile(rf"{_START}r8_[0-9A-Za-z]{{37}}{_END}")),
    Shape("a Databricks token", re.compile(rf"{_START}dapi[0-9a-f]{{32}}{_END}")),
    Shape("a DigitalOcean token", re.compile(rf"{_START}do[opr]_v1_[0-9a-f]{{64}}{_END}")),
    Shape(
        "a Telegram token",
        re.compile(r"(?<!\d)\d{6,12}:([0-9A-Za-z_-]{35})(?![0-9A-Za-z_-])"),
        is_random,
    ),
    Shape(
        "a Discord token",
        re.compile(
            rf"{_START}([MNO][0-9A-Za-z_-]{{23,27}}\.[0-9A-Za-z_-]{{6}}\.[0-9A-Za-z_-]{{27,38}})"
        ),
        is_random,
    ),
    Shape("an age key", re.compile(rf"{_START}AGE-SECRET-KEY-1[0-9A-Z]{{58}}{_END}")),
    Shape("an Azure key", re.compile(r"AccountKey=[0-9A-Za-z+/]{86}==")),
    Shape(
        "a JSON web token",
        re.compile(
            rf"{_START}eyJ[0-9A-Za-z_-]{{10,}}\.eyJ[0-9A-Za-z_-]{{10,}}\.[0-9A-Za-z_-]{{20,}}"
        ),
    ),
    Shape(
        "a login in an address",
        re.compile(r"[a-z]://[^\s/:@\"'{}<>$]+:([^\s/:@\"'{}<>$]{8,})@[A-Za-z0-9]"),
        _is_login,
    ),
    Shape(
        "a login as in .netrc",
        re.compile(
            r"\b(?:machine\s+\S+|default)\s+login\s+\S+\s+(?:account\s+\S+\s+)?"
            r"password\s+([^\s\"'\\]{8,})"
        ),
        _is_login,
    ),
    Shape(
        "a key given to a call",  # of digits that may be a digest's elsewhere
        re.compile(
            rf"(?i:login|auth\w*|api|client|session)\((?:[^()]{{0,200}}?\b(?:api_?)?key\s*=)?\s*"
            rf"{_Q}([0-9a-f]{{32}}|[0-9a-f]{{40}}){_Q}"
        ),
        is_random,
    ),
    Shape(
        "a key given to a command",
        re.compile(
            rf"(?:--(?:api-?)?key|\bwandb{_GAP}login(?:{_GAP}--\w+)*){_GAP}"
            rf"([0-9a-f]{{32}}|[0-9a-f]{{40}}){_END}"
        ),
        is_random,
    ),
    Shape(
        "a password or key",  # name = "value": within quotes any character may stand
        re.compile(
            rf"{_NAME}{_Q}?\]?\s*(?::\s*str\s*)?(?:=|:=?|=>|,)\s*[rbfu]?{_Q}{_SCHEME}"
            rf"([^\s\"'`\\]{{16,}}){_Q}"
        ),
        is_random,
    ),
    Shape(
        "a password or key",  # NAME=value, name: value
        re.compile(rf"{_NAME}[ \t]*[=:][ \t]*{_SCHEME}([0-9A-Za-z+/_=-]{{20,}}+)(?![.(\[{{])"),
        is_random,
    ),
)


def kind_by_name(name: str) -> str:
    """Return the kind of credentials that a file of a name holds, or a copy of one, or "".

    >>> kind_by_name("id_rsa.bak"), kind_by_name("id_rsa.pub")
    ('an SSH key file', '')
    """
    plain = SPARE.sub("", name.lower())
    for patterns, kind in NAMES:
        if any(fnmatch.fnmatchcase(plain, pattern) for pattern in patterns.split()):
            return kind
    return ""


def kind_in_text(text: str) -> str:
    """Return the kind of a secret in a text, or "".

    >>> kind_in_text("token: " + "ghp_" + 18 * "x0")
    'a GitHub token'
    """
    views = [text]
    if ANSI.search(text):
        views += [ANSI.sub("", text), ANSI.sub(" ", text)]
    return next((shape.kind for view in views for shape in SHAPES if shape.is_in(view)), "")
