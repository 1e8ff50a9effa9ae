"""Build hook: compiles ``consent/native`` where there is a C compiler, and checks and packs the catalog's vendors.

Without a compiler the package is pure Python.

Not part of the wheel. ``CONSENT_BUILD_SPEEDUPS=0`` leaves the compiler alone, ``=1`` insists on it.
"""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_STABLE_ABI = "0x030B0000"  # CPython 3.11 and everything after it


class SpeedupsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled module, and the tag that goes with it, to the wheel or the editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            self._packed = Path(tempfile.mkdtemp(), "vendors.json")
            self._packed.write_bytes(self._packed_vendors())
            build_data["force_include"][str(self._packed)] = "consent/catalog/vendors/vendors.json"
        wanted = os.environ.get("CONSENT_BUILD_SPEEDUPS", "")
        built = None if wanted == "0" else self._compile()
        if built is None:
            if wanted == "1":
                raise RuntimeError("the C compiler could not build consent/native: see the lines above")
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"
        if version != "editable":
            build_data["force_include"][str(built)] = f"consent/{built.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._packed.parent)

    def _packed_vendors(self) -> bytes:
        """Load the vendors as the package does; one that is wrong fails the build.

        The package itself is not imported: it needs libraries that are not there while it is built.
        """
        package = ModuleType("consent")
        package.__path__ = [str(Path(self.root, "consent"))]
        sys.modules["consent"] = package
        try:
            catalog = importlib.import_module("consent.catalog")
            packed = importlib.import_module("consent.catalog.packed")
            return bytes(packed.pack(catalog.load_catalog().vendors.values()))
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "consent"]:
                del sys.modules[name]

    def _compile(self) -> Path | None:
        if sys.implementation.name != "cpython" or os.name != "posix":
            return None
        sources = sorted(map(str, Path(self.root, "consent", "native").glob("*.c")))
        target = Path(self.root, "consent", "_speedups.abi3.so")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        flags = ["-O2", "-fvisibility=hidden", "-shared", "-fPIC", f"-DPy_LIMITED_API={_STABLE_ABI}"]
        if sys.platform == "darwin":
            flags += ["-undefined", "dynamic_lookup"]
        # Written elsewhere and moved, so that a process that has the old one mapped is not pulled from under.
        fresh = target.with_suffix(f".{os.getpid()}")
        command = [*compiler, *flags, f"-I{sysconfig.get_paths()['include']}", *sources, "-o", str(fresh)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"asgi-consent is installed without its C speedups: {error}")
            if output := getattr(error, "stderr", None):
                self.app.display_warning(output[-2000:])
            return None
        fresh.replace(target)
        return target
