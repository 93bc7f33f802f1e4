"""Puts the native module that UNROLLED_NATIVE names in the place of the installed one.

Python imports this at start where this folder is in PYTHONPATH, so that processes which a test
starts run the same module.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec


class Replacement:
    """Finds `unrolled._native` before any installed package does."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where the module is, and nothing for other modules."""
        if name != "unrolled._native":
            return None
        return importlib.util.spec_from_file_location(name, os.environ["UNROLLED_NATIVE"])


if "UNROLLED_NATIVE" in os.environ:
    sys.meta_path.insert(0, Replacement)  # type: ignore[arg-type]
