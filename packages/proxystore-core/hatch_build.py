"""Builds the C `Proxy` into the wheel, or says loudly that the wheel goes without it."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

_PACKAGE = Path("proxystore", "proxy")


class ProxyBuildHook(BuildHookInterface[Any]):
    """One wheel a platform, ``cp311-abi3``; ``py3-none-any`` without a compiler.

    ``PROXYSTORE_PURE_PYTHON=1`` asks for the latter. An editable install gets the
    extension beside its source.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("PROXYSTORE_PURE_PYTHON", "0") not in {"", "0"}:
            return
        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            self._warn("free-threaded Pythons have no stable ABI yet")
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="proxystore-build-")
        try:
            built = _compile(Path(self.root, "src", _PACKAGE, "_c.c"), Path(self._scratch.name))
        except (BaseError, CCompilerError) as error:
            self._warn(str(error))
            return
        if version == "editable":
            Path(self.root, "src", _PACKAGE, built.name).write_bytes(built.read_bytes())
        else:
            build_data["force_include"][str(built)] = str(_PACKAGE / built.name)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"
        build_data["pure_python"] = False

    def _warn(self, why: str) -> None:
        version = ".".join(map(str, sys.version_info[:2]))
        self.app.display_warning(
            f"\n*** proxystore-core: built WITHOUT the C proxy ({why}).\n"
            f"*** Everything works, but each use of a proxy costs several times more. Install a\n"
            f"*** C compiler and the headers of Python {version}, then build again.\n"
        )


def _compile(source: Path, folder: Path) -> Path:
    flags = [] if os.name == "nt" else ["-O3", "-g0"]
    extension = Extension("_c", [str(source)], py_limited_api=True, extra_compile_args=flags)
    command = build_ext(Distribution({"ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder)
    command.ensure_finalized()
    command.run()
    return Path(command.get_outputs()[0])
