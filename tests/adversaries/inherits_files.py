"""Looks for files of the harness that are still open in it."""

import os
import stat

from harness.trial import connect
from tests.adversaries import finish

trial = connect()
own = trial._channel.fileno()
open_files = []
for entry in os.listdir("/proc/self/fd"):
    try:
        kind = os.stat(int(entry)).st_mode
    except OSError:
        continue
    name = os.readlink(f"/proc/self/fd/{entry}")
    if int(entry) != own and (stat.S_ISSOCK(kind) or "results.tsv" in name or "runs/" in name):
        open_files.append(name)
print(open_files)
finish(trial, gained=bool(open_files))
