"""Builds the Python modules from the .proto files; nothing that is generated is committed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
# mypy-protobuf's plug-ins are scripts beside the interpreter, which need not be on the PATH.
ENV = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


class BuildProtos(build_py):
    """Runs protoc into the build folder: messages, gRPC stubs, and type stubs for both."""

    def run(self) -> None:
        super().run()
        out = Path(self.build_lib).resolve()
        out.mkdir(parents=True, exist_ok=True)
        protos = [str(p.relative_to(HERE)) for p in sorted(HERE.glob("singscript/**/*.proto"))]
        flags = [f"--{kind}={out}" for kind in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I.", *flags, *protos], check=True, cwd=HERE, env=ENV
        )
        # The package `singscript` stays a namespace; only its leaves are packages of their own.
        for folder in {path.parent for path in out.glob("singscript/**/*_pb2.py")}:
            (folder / "__init__.py").touch()
            (folder / "py.typed").touch()


setup(packages=["singscript"], package_dir={"singscript": "singscript"}, cmdclass={"build_py": BuildProtos})
