"""What an instance sees of the file system: Python and libraries, its model, and folders of its own.

A tree is put together on an empty tmpfs and becomes the root. What is not in it cannot be named: the data directory,
other models, the sockets of other instances, the homes of users. What all instances see is put together once (Base);
each one's tree has its top folders and links, and what is its own.
"""

from __future__ import annotations

import functools
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.compute import namespaces
from kedge.compute.namespaces import NODEV, NOEXEC, NOSUID, RDONLY

TEMPORARY = "/tmp"  # noqa: S108 (inside the view, where it is the instance's own)
MODEL_DIR = "/opt/ml/model"
"""Where a SageMaker container finds its model."""
MODELS_DIR = "/opt/ml/models"
"""Where one with many models finds them: NAME/model of each."""
SOCKETS = "/run/kedge"
"""Folder of the instance's own socket. Not in a folder in which it may write, so that nothing else can be put there."""
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
HOST_NAME = "instance"
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "mime.types", "magic"),
    *("protocols", "services", "fonts", "crypto-policies", "ssl/certs", "ssl/openssl.cnf", "ca-certificates"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
)
"""Of /etc. Folders in which private keys lie are left out."""
_ETC_OF_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf")
_CPU = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_HALVES = NOSUID | NODEV


@dataclass(frozen=True)
class Base:
    """What several instances see alike; all paths are absolute."""

    hidden: tuple[str, ...] = ()
    """Folders that must not be seen even if something above them is."""
    readable: tuple[str, ...] = ()
    """Besides the system and what lies in a hidden folder, at the same path as outside."""
    devices: tuple[str, ...] = DEVICES
    host_network: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Base:
        lists = {name: tuple(fields[name]) for name in ("hidden", "readable", "devices")}
        return cls(**{**fields, **lists})


@dataclass(frozen=True)
class View:
    """What one instance sees besides its Base."""

    root: str
    """An empty folder on which the tree is put together."""
    readable: Mapping[str, str] = field(default_factory=dict)
    """What is read only: from the path inside to the path outside. Each path inside is MODEL_DIR or MODELS_DIR, or in a
    hidden folder of the base."""
    writable: Mapping[str, str] = field(default_factory=dict)
    """What may be changed, alike; also SOCKETS, TEMPORARY with what lies in it, and a job's folder around MODEL_DIR."""
    shm_bytes: int = 64 * 1024 * 1024
    own_proc: bool = True
    """Whether a /proc of the new pid namespace can be mounted; otherwise that of outside is shown."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> View:
        return cls(**fields)


@functools.cache
def system_paths(*, host_network: bool = False) -> list[str]:
    """Where this Python, its modules, and libraries are: folders, files and links, each with what it leads to."""
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
    python += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    names = [*_ETC, *(_ETC_OF_NETWORK if host_network else ())]
    etc = [f"/etc/{name}" for name in names] + [str(each) for each in Path("/etc").glob("python3*")]
    found = [each for each in (*_SYSTEM, *etc, *_CPU, *python) if os.path.isabs(each) and os.path.exists(each)]
    found = [os.path.normpath(each) for each in found]
    found += [real for each in found if (real := os.path.realpath(each)) != each and not _below(each, _SYSTEM)]
    return outermost(each for each in found if each != "/")


LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Links on most systems, whose ends are to be seen too."""


def outermost(paths: Iterable[str]) -> list[str]:
    """Without those that lie in another one of them, shortest first. PURE."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda each: (each.count("/"), each)):
        if not _below(path, kept):
            kept.append(path)
    return kept


def build_base(base: Base, folder: str) -> None:
    """Put together, in the folder, what instances with this base see. Raises OSError.

    In a mount namespace that is not the host's, and with the right to mount there.
    """
    os.umask(0o022)
    namespaces.mount("tmpfs", folder, "tmpfs", NOSUID | NODEV, "mode=0755,size=16m")
    tree = _Tree(folder)
    for path in outermost([*system_paths(host_network=base.host_network), *base.readable]):
        if path != TEMPORARY and not _below(path, [TEMPORARY]):
            tree.show(path, path)
    for path in (*outermost(base.hidden), MODEL_DIR, MODELS_DIR, SOCKETS, TEMPORARY, "/proc", "/dev/shm"):  # noqa: S108
        if not _below(path, [TEMPORARY]):
            tree.place(path, "/")
    for device in base.devices:
        tree.place(device, device)
    _write_files(tree)
    namespaces.restrict(folder, RDONLY | _HALVES)
    for device in base.devices:
        tree.show(device, device, NOSUID | NOEXEC)


def build(view: View, base: Base, folder: str) -> None:
    """Make it this mount namespace's root. Raises OSError. folder: where the base was put together.

    In a mount namespace of its own, and with the right to mount; for a /proc of its own inside the new pid namespace.
    """
    os.umask(0o022)
    namespaces.keep_mounts_apart()
    namespaces.mount("tmpfs", view.root, "tmpfs", NOSUID | NODEV, "mode=0755,size=1m")
    tree = _Tree(view.root)
    for name in os.listdir(folder):
        tree.show(f"/{name}", f"{folder}/{name}")
    own = {path: (path, RDONLY) for path in base.readable if _below(path, [TEMPORARY])}
    own |= {path: (path, RDONLY) for path in system_paths(host_network=base.host_network) if _below(path, [TEMPORARY])}
    own |= {inside: (outside, RDONLY) for inside, outside in view.readable.items()}
    own |= {inside: (outside, 0) for inside, outside in view.writable.items()}
    # First what other places lie in.
    order = sorted({*own, *base.hidden}, key=lambda inside: (inside.count("/"), inside))
    for inside in order:
        if inside in own:
            tree.show(inside, own[inside][0], own[inside][1] | _HALVES)
        else:
            tree.hide(inside)
    tree.close()
    shm = f"mode=1777,size={view.shm_bytes},nr_inodes=65536"
    namespaces.mount("tmpfs", tree.inside("/dev/shm"), "tmpfs", _HALVES, shm)  # noqa: S108 (its own)
    _mount_proc(tree, own=view.own_proc)
    namespaces.change_root(view.root)


class _Tree:
    """A tree while it is put together."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._ours = {os.stat(root).st_dev}
        """The file systems in which a folder may be made. One of the host's is among them only if it is also the
        instance's own, and what else of it is shown is read only by then."""
        self._made = [root]

    def inside(self, path: str) -> str:
        return self._root + path

    def show(self, inside: str, outside: str, flags: int = 0) -> None:
        """What is not there is passed over. A link is a link in the tree."""
        target = self.inside(inside)
        if os.path.islink(outside):
            if not os.path.lexists(target):
                self._folder(os.path.dirname(inside))
                os.symlink(os.readlink(outside), target)
        elif self.place(inside, outside):
            namespaces.bind(outside, target)
            if flags:
                namespaces.restrict(target, flags)
            if flags & NODEV and not flags & RDONLY:
                self._ours.add(os.stat(target).st_dev)

    def hide(self, path: str) -> None:
        """Put an empty folder over it, in which places can be made."""
        self._folder(path)
        namespaces.mount("tmpfs", self.inside(path), "tmpfs", _HALVES, "mode=0755,size=1m")
        self._ours.add(os.stat(self.inside(path)).st_dev)
        self._made.append(self.inside(path))

    def close(self) -> None:
        """Nothing can be made in the tree itself any more."""
        for folder in self._made:
            namespaces.restrict_one(folder, RDONLY | _HALVES)

    def place(self, inside: str, outside: str) -> bool:
        """Make a folder or file on which `outside` can be mounted; False when that is not there."""
        try:
            is_folder = stat.S_ISDIR(os.stat(outside).st_mode)
        except OSError:
            return False
        if os.path.lexists(self.inside(inside)):
            return True
        if is_folder:
            self._folder(inside)
        else:
            self.write(inside, "")
        return True

    def write(self, inside: str, text: str) -> None:
        if not os.path.lexists(self.inside(inside)):
            self._folder(os.path.dirname(inside))
            Path(self.inside(inside)).write_text(text)

    def link(self, inside: str, target: str) -> None:
        if not os.path.lexists(self.inside(inside)):
            self._folder(os.path.dirname(inside))
            os.symlink(target, self.inside(inside))

    def _folder(self, path: str) -> None:
        if path in ("/", "") or os.path.isdir(self.inside(path)):
            return
        above = os.path.dirname(path)
        self._folder(above)
        if os.stat(self.inside(above)).st_dev not in self._ours:
            raise OSError(f"{path} cannot be shown to an instance: it would have to be made in {above}")
        os.mkdir(self.inside(path), 0o755)


def _write_files(tree: _Tree) -> None:
    uid, gid = os.getuid(), os.getgid()
    name = "root" if uid == 0 else "model"
    nobody = "" if uid == 65534 else "nobody:x:65534:65534::/:/sbin/nologin\n"
    tree.write("/etc/passwd", f"{name}:x:{uid}:{gid}::{TEMPORARY}:/bin/sh\n{nobody}")
    tree.write("/etc/group", f"{name}:x:{gid}:\n" + ("" if gid == 65534 else "nogroup:x:65534:\n"))
    tree.write("/etc/hosts", f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n")
    tree.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    for link, target in _LINKS.items():
        tree.link(f"/dev/{link}", target)


def _mount_proc(tree: _Tree, *, own: bool) -> None:
    """Read only: files in /proc/sys belong to root, which a server that runs as root is for them here too."""
    target = tree.inside("/proc")
    if own:
        namespaces.mount("proc", target, "proc", _HALVES | NOEXEC)
    else:
        namespaces.bind("/proc", target)
    namespaces.restrict(target, RDONLY | _HALVES | NOEXEC)


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)
