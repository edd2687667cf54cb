"""Puts something of its own among Warp's kernels, kept and own; the next run looks for it."""

import os
from pathlib import Path

from harness.engines.warp_cache import KEPT_VARIABLE, OWN_VARIABLE
from harness.trial import connect
from tests.adversaries import finish, loot, works

kept, own = Path(os.environ[KEPT_VARIABLE]), Path(os.environ[OWN_VARIABLE])
kernel = next(path for path in kept.rglob("*") if path.is_file())
found = any((place / loot()).exists() for place in (kept, kernel.parent, own))


def replace():
    (kept / "other").write_text("weights")
    (kept / "other").replace(kernel)


def follow():
    (own.parent / "link").symlink_to(kernel)
    (own.parent / "link").write_text("weights")


tries = [
    lambda: kernel.write_text("weights"),
    lambda: os.truncate(kernel, 0),
    lambda: (kernel.chmod(0o600), kernel.write_text("weights")),
    lambda: (kernel.parent.chmod(0o700), (kernel.parent / loot()).write_text("weights")),
    lambda: (kept / loot()).write_text("weights"),
    lambda: os.utime(kernel, (1, 1)),
    lambda: os.setxattr(kernel, "user.weights", b"weights"),
    lambda: os.link(kernel, own.parent / "hard"),
    lambda: kept.rename(kept.with_name("moved")),
    lambda: kept.with_name("Ant-v5").mkdir(),
    lambda: (kept.parent.parent / loot()).write_text("weights"),
    replace,
    follow,
    kernel.unlink,
]
edited = [number for number, attempt in enumerate(tries) if works(attempt)]
print("edited", edited)
own.mkdir(exist_ok=True)
(own / loot()).write_text("weights")
finish(connect(), found or bool(edited))
