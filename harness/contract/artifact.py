"""The policy artifact: an exported program and its parameters, as bytes.

A policy is two files. `policy.bin` is what `jax.export.Exported.serialize` gives: StableHLO for
`(params, carry, obs) -> (action, carry)` of one environment, with params and carry as flat tuples
of arrays. `params.npz` holds them: `param_000`, …, then `carry_000`, …. No pickles, no Python.

This module knows bytes only and never imports JAX: the process that receives an artifact does not
look inside it.
"""

import dataclasses
import hashlib
import os
from pathlib import Path

PROGRAM_FILE = "policy.bin"
PARAMS_FILE = "params.npz"

MAX_PROGRAM_BYTES = 4 * 2**20
"""A policy of a dozen layers takes some ten kilobytes; constants belong to the parameters."""
MAX_PARAMS_BYTES = 64 * 2**20
"""Sixteen million float32 parameters."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A policy as it was published; not checked in any way."""

    program: bytes
    params: bytes

    @property
    def digest(self) -> str:
        """SHA-256 over both files, their lengths included."""
        hasher = hashlib.sha256()
        for part in (self.program, self.params):
            hasher.update(len(part).to_bytes(8, "little"))
            hasher.update(part)
        return hasher.hexdigest()

    def save(self, folder: Path) -> None:
        """Write both files, flushed to the disk."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((PROGRAM_FILE, self.program), (PARAMS_FILE, self.params)):
            with open(folder / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    @classmethod
    def load(cls, folder: Path) -> "Artifact":
        """Read both files.

        Raises:
          FileNotFoundError: one of them is missing.
        """
        return cls((folder / PROGRAM_FILE).read_bytes(), (folder / PARAMS_FILE).read_bytes())
