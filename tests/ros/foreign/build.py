"""Builds the message packages of other people whose definitions lie beside this file: fields and types as published, comments ours.

    ros_drivers/   audio_common_msgs of ros-drivers, foxglove_msgs, hri_msgs (ros4hri)
    mgonzs13/      audio_common_msgs of mgonzs13: the same name, other fields, hence a prefix of its own
Built once (half a minute) into build/foreign-<hash of definitions and interpreter>/; a change of either builds anew. Each package gets a
CMake project written on the spot, because all it has of its own are its definitions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
GROUPS = ("ros_drivers", "mgonzs13")

PROJECT = """\
cmake_minimum_required(VERSION 3.20)
project({name} C CXX)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(std_msgs REQUIRED)
rosidl_generate_interfaces(${{PROJECT_NAME}} {files} DEPENDENCIES builtin_interfaces std_msgs)
ament_package()
"""
PACKAGE = """\
<package format="3">
  <name>{name}</name>
  <version>0.0.0</version>
  <description>definitions for tests</description>
  <maintainer email="nobody@example.org">nobody</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>builtin_interfaces</depend>
  <depend>std_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""


class ToolMissing(RuntimeError):
    """Something that generates messages is not installed; the text names it."""


def prefix(group: str) -> Path:
    """Where the packages of a group are installed. ToolMissing without a compiler, cmake or ninja."""
    root = _root()
    if not (root / "done").is_file():
        _build_all(root)
    return root / group


def environment(group: str) -> dict[str, str]:
    """What a process needs in its environment to import the packages of a group."""
    where = prefix(group)
    return os.environ | {
        "AMENT_PREFIX_PATH": _joined(where, sys.prefix, os.environ.get("AMENT_PREFIX_PATH", "")),
        "LD_LIBRARY_PATH": _joined(where / "lib", os.environ.get("LD_LIBRARY_PATH", "")),
        "PYTHONPATH": _joined(*map(str, _python_folders(where)), REPOSITORY, os.environ.get("PYTHONPATH", "")),
    }


def _joined(*parts: Path | str) -> str:
    return os.pathsep.join(str(part) for part in parts if str(part))


def _python_folders(where: Path) -> list[Path]:
    return sorted({path.parent for path in where.rglob("*_msgs") if (path / "__init__.py").is_file()})


def _root() -> Path:
    digest = hashlib.sha256(f"{sys.prefix} {sys.version} {os.environ.get('ROS_DISTRO', '')}".encode())
    for path in [Path(__file__), *sorted(HERE.rglob("*.msg"))]:
        digest.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return REPOSITORY / "build" / f"foreign-{digest.hexdigest()[:12]}"


def _build_all(root: Path) -> None:
    for tool in ("cmake", "c++", "ninja"):
        if shutil.which(tool, path=_joined(sysconfig.get_path("scripts"), os.environ.get("PATH", ""))) is None:
            raise ToolMissing(f"{tool} is not installed, and messages of other packages are generated with it")
    packages = [(group, path) for group in GROUPS for path in sorted((HERE / group).iterdir()) if (path / "msg").is_dir()]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda package: _build(root, *package), packages):
            pass
    (root / "done").touch()


def _build(root: Path, group: str, package: Path) -> None:
    project = root / "src" / group / package.name
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(package, project)
    files = " ".join(f"msg/{path.name}" for path in sorted((package / "msg").iterdir()))
    (project / "CMakeLists.txt").write_text(PROJECT.format(name=package.name, files=files), encoding="utf-8")
    (project / "package.xml").write_text(PACKAGE.format(name=package.name), encoding="utf-8")
    search = ";".join([sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))])
    configure = [
        "cmake", "-S", str(project), "-B", str(project / "build"), "-G", "Ninja", "-DBUILD_TESTING=OFF", "-DCMAKE_INSTALL_MESSAGE=NEVER",
        f"-DCMAKE_PREFIX_PATH={search}", f"-DCMAKE_INSTALL_PREFIX={root / group}", f"-DPython3_EXECUTABLE={sys.executable}",
        "-DPython3_FIND_VIRTUALENV=ONLY", "-DCMAKE_CXX_FLAGS=-O0", "-DCMAKE_C_FLAGS=-O0",
    ]  # fmt: skip
    compile_ = ["cmake", "--build", str(project / "build"), "--target", "install"]
    tools = _joined(sysconfig.get_path("scripts"), os.environ.get("PATH", ""))
    environment = os.environ | {"PATH": tools, "AMENT_PREFIX_PATH": search.replace(";", os.pathsep)}
    for command in (configure, compile_):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} failed for {package.name}:\n{(done.stdout + done.stderr)[-3000:]}")
