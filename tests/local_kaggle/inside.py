"""First process of a session's namespace: lays out /kaggle, cuts the network, runs the command.

    unshare -m -p -f [-n] python inside.py PLAN.json

A new root is made of the machine's own folders, with a /proc of the namespace's and a /kaggle of
the session's: the machine itself gets no /kaggle.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCSIFFLAGS = 0x8914  # netdevice(7)
IFF_UP = 0x1


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def raise_loopback() -> None:
    """Bring lo up: Jupyter speaks to its kernel over it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def lay_root(root: Path) -> None:
    mount("-t", "tmpfs", "session", str(root))
    for entry in Path("/").iterdir():
        if entry.name in ("kaggle", "proc", "lost+found"):
            continue
        if entry.is_symlink():
            (root / entry.name).symlink_to(os.readlink(entry))
        elif entry.is_dir():
            (root / entry.name).mkdir()
            mount("--rbind", str(entry), str(root / entry.name))
    (root / "proc").mkdir()
    mount("-t", "proc", "proc", str(root / "proc"))


def lay_kaggle(root: Path, working: str, mounts: dict[str, str]) -> None:
    """Bind the working folder and the inputs; these and the folders above them are read-only."""
    (root / "kaggle/working").mkdir(parents=True)
    mount("--bind", working, str(root / "kaggle/working"))
    inputs = root / "kaggle/input"
    inputs.mkdir()
    places = {str(root) + where: source for where, source in mounts.items()}
    for place in places:
        os.makedirs(place, exist_ok=True)
    for place, source in {str(inputs): str(inputs), **places}.items():
        mount("--bind", source, place)
        mount("-o", "remount,bind,ro", place)


def main(plan_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    if not plan["internet"]:
        raise_loopback()
    root = Path(plan["root"])
    lay_root(root)
    lay_kaggle(root, plan["working"], plan["mounts"])
    os.chroot(root)
    os.chdir("/kaggle/working")
    os.execve(plan["command"][0], plan["command"], plan["environment"])


if __name__ == "__main__":
    main(sys.argv[1])
