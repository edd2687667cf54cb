"""An agent whose words and files nobody expects: `python unruly.py CASE`, in its clone.

Every case but those of `WITHOUT_EDIT` makes a proper edit, too.
"""

import os
import pathlib
import shutil
import stat
import sys

FILE = pathlib.Path("agent_space/train.py")
DESCRIPTION = pathlib.Path("DESCRIPTION")
LARGE = 40 * 2**30  # bytes, of files that take no room


def write(text):
    DESCRIPTION.write_bytes(text if isinstance(text, bytes) else text.encode())


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(LARGE)


def pipe():
    FILE.unlink()
    os.mkfifo(FILE)


def link():
    FILE.unlink()
    FILE.symlink_to("/proc/kmsg")


def prints_much():
    for _ in range(40):
        sys.stdout.write("x" * 2**20)
    print("\n😀 wider")


def many_levels():
    here = pathlib.Path.cwd()
    for _ in range(300):  # beyond the longest path that the system takes
        os.mkdir("a" * 32)
        os.chdir("a" * 32)
    os.chdir(here)


WORDS = {
    "surrogate": lambda: print('{"result": "swish \\ud83d", "usage": {"output_tokens": 3}}'),
    "utf-16": lambda: write("wider network".encode("utf-16")),
    "latin-1": lambda: write("größer".encode("latin-1")),
    "nul": lambda: write("a\0b\n"),
    "escape": lambda: print("\x1b[32mChanged W\x1b[0m\n\x1b[?25h\x1b[2K\x1b[1G"),
    "title": lambda: write("\x1b]0;owned\x07\x1b[2J\x1b[31mred $\\nosuch$ <b>"),
    "cost": lambda: print('{"result": "x", "total_cost_usd": ' + "9" * 400 + "}"),
    "nan": lambda: print('{"result": "x", "usage": {"a_tokens": true}, "total_cost_usd": "nan"}'),
    "nested": lambda: print("[" * 19000),
    "words of a limit": lambda: print("the rate limit of the optimizer is 429"),
    "output": prints_much,
}
FILES = {
    "sparse": lambda: sparse("big"),
    "sparse description": lambda: sparse(DESCRIPTION),
    "kmsg": lambda: os.symlink("/proc/kmsg", "notes"),
    "kcore": lambda: os.symlink("/proc/kcore", DESCRIPTION),
    "fifo beside": lambda: os.mkfifo("pipe"),
    "name": lambda: pathlib.Path("a\nb\x1b[31m\tc").touch(),
    "no unicode": lambda: pathlib.Path(os.fsdecode(b"x\xffy")).touch(),
    "deep": many_levels,
    "locked": lambda: (pathlib.Path("key").write_text("x"), os.chmod("key", 0)),
}
WITHOUT_EDIT = {
    "no folder": lambda: shutil.rmtree(pathlib.Path(os.environ["AUTORL_BRIEF"]).parent),
    "no edit folder": lambda: shutil.rmtree(FILE.parent),
    "locked file": lambda: os.chmod(FILE, 0),
    "fifo": pipe,
    "link": link,
    "sparse file": lambda: sparse(FILE),
    "long sum": lambda: FILE.write_text("T = " + " + ".join(["1"] * 20_000)),
    "deep file": lambda: FILE.write_text("x = " + "-" * 60_000 + "1"),
    "utf-16 file": lambda: FILE.write_bytes("SKILL = 1".encode("utf-16")),
    "only words of a limit": lambda: print("the rate limit of the optimizer is 429"),
}
CASES = {**WORDS, **FILES, **WITHOUT_EDIT}


if __name__ == "__main__":
    case = sys.argv[1]
    if case not in WITHOUT_EDIT:
        with open(FILE, "a") as file:
            file.write(f"# {case}\n")
        assert stat.S_ISREG(os.lstat(FILE).st_mode)
    CASES[case]()
