"""Looks for files of the harness that are still open in it."""

import os
import stat


def attempt():
    own = int(os.environ["AUTORL_TRIAL_CHANNEL"])
    open_files = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            kind = os.stat(int(entry)).st_mode
        except OSError:
            continue
        name = os.readlink(f"/proc/self/fd/{entry}")
        ours = stat.S_ISSOCK(kind) or "results.tsv" in name or "runs/" in name
        if int(entry) != own and ours:
            open_files.append(name)
    print(open_files)
    return bool(open_files)
