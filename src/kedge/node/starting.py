"""`kedge up`: from settings to a running supervisor, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kedge import config
from kedge.compute import output
from kedge.compute.linux import Capabilities, probe
from kedge.compute.records import read_run
from kedge.config import Settings
from kedge.home import Home, HomeError, open_home, unusable
from kedge.node import ephemeral, lock
from kedge.node.ports import PortError
from kedge.node.programs import Programs
from kedge.node.supervisor import NotReady, Ready, Supervisor
from kedge.tls import TlsError

PROGRAMS = Programs()
_DYING_S = 0.5
"""How long a supervisor that was just killed may still hold its lock."""
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

Say = Callable[[str, bool], None]
"""(text, whether it is an error)"""


class CannotStart(Exception):
    """One sentence that says why, and what to do."""


def up(
    settings: Settings,
    *,
    ephemeral_at: Path | None = None,
    detach: bool = False,
    as_json: bool = False,
    programs: Programs = PROGRAMS,
    capabilities: Capabilities | None = None,
) -> int:
    """Run the server; returns the exit code once it has ended, or, with detach, once it is ready.

    ephemeral_at: where an ephemeral server keeps its state; None is a new folder among the temporary ones.
    """
    able = capabilities or probe()
    if detach:
        return _detached(lambda say, started: _run(settings, ephemeral_at, as_json, programs, able, say, started))
    return _run(settings, ephemeral_at, as_json, programs, able, _say, lambda _: None)


def _say(text: str, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(text + "\n")
    stream.flush()


def _run(
    settings: Settings,
    ephemeral_at: Path | None,
    as_json: bool,
    programs: Programs,
    capabilities: Capabilities,
    say: Say,
    opened: Callable[[Home], None],
) -> int:
    """opened: called once the data directory is there, and this server's alone."""
    temporary: Path | None = None
    held: int | None = None
    try:
        missing = capabilities.missing_layers()
        if settings.require_sandbox and missing:
            names = ", ".join(name.replace("_", " ") for name in missing)
            raise CannotStart(f"The sandbox around instances lacks: {names}. Without --require-sandbox Kedge starts.")
        if settings.ephemeral:
            ephemeral.remove_stale()
            if ephemeral_at is None:
                temporary = ephemeral.make()
            else:
                held = _claimed(ephemeral_at)
                temporary = ephemeral_at
            settings = replace(settings, data_dir=temporary)
        home = open_home(settings)
        if held is None:
            held = _lock(home.path)
            home = open_home(settings)  # again: until it let the lock go, a server that ended was still tidying up
        opened(home)
        _log_to(home)
        _allow_many_files()
        return asyncio.run(_serve(settings, home, held, as_json, programs, capabilities, say))
    except (CannotStart, HomeError, PortError, TlsError, NotReady) as error:
        say(str(error), True)
        return 1
    except OSError as error:
        logging.getLogger(__name__).exception("the supervisor ended")
        say(f"The server cannot go on: {error}.", True)
        return 1
    finally:
        if temporary is not None:
            ephemeral.remove(temporary)  # before another server can have the lock
        if held is not None:
            os.close(held)


async def _serve(
    settings: Settings,
    home: Home,
    held: int,
    as_json: bool,
    programs: Programs,
    capabilities: Capabilities,
    say: Say,
) -> int:
    me = lock.sign(held)

    def ready(found: Ready) -> None:
        for note in [*_not_taken(settings, home), *found.notes]:
            say(note, True)
        say(json.dumps(_as_dict(found, home, me.pid)) if as_json else _as_text(found, home), False)

    await Supervisor(settings, home, me, capabilities, programs).run(ready)
    return 0


def _not_taken(settings: Settings, home: Home) -> list[str]:
    """Sentences about settings that count at the first start only, and are others now."""
    notes = []
    shown = (("account_id", home.account), ("region", home.region), ("root_access_key", home.root_key.access_key_id))
    for name, kept in shown:
        asked = getattr(settings, name)
        if asked not in (kept, getattr(config.DEFAULTS, name)):
            notes.append(f"{config.variable(name)} is {asked}, but {home.path} was made with {kept}, and keeps it.")
    if settings.root_secret_key not in (home.root_key.secret, "") and not notes:
        notes.append(f"{config.variable('root_secret_key')} is not the key that {home.path} was made with, and keeps.")
    return notes


def _as_dict(found: Ready, home: Home, pid: int) -> dict[str, Any]:
    return {
        "api_url": found.api_url,
        "inference_url": found.inference_url,
        "data_dir": str(home.path),
        "account": home.account,
        "region": home.region,
        "access_key_id": home.root_key.access_key_id,
        "secret_access_key": home.root_key.secret,
        "pid": pid,
        "ca_bundle": found.ca_bundle,
    }


def _as_text(found: Ready, home: Home) -> str:
    return f"Kedge is ready. API: {found.api_url}  Inference: {found.inference_url}  Data: {home.path}"


def _claimed(folder: Path) -> int:
    """The lock of a folder that an ephemeral server may have for itself. Raises CannotStart or HomeError."""
    try:
        ephemeral.check(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = _lock(folder)
        ephemeral.clear(folder)  # what one that was killed has left
    except OSError as error:
        raise unusable(folder, error) from error
    return held


def _lock(folder: Path) -> int:
    path = folder / "lock"
    try:
        return lock.acquire(path, _DYING_S)
    except lock.Held:
        holder, run = lock.holder(path), read_run(folder / "run.json")
        where = f" at {run.api_url}" if run is not None else ""
        who = f" (process {holder.pid})" if holder is not None else ""
        raise CannotStart(
            f"A server already runs on {folder}{where}{who}; `kedge down` ends it, --data chooses another folder."
        ) from None


def _log_to(home: Home) -> None:
    """To the file only: a reader of stdout or stderr that stalls shall not stall the supervisor."""
    handler = logging.FileHandler(home.logs / "supervisor.log")
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _allow_many_files() -> None:
    """Each instance costs the supervisor a descriptor or two; shells allow 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _detached(run: Callable[[Say, Callable[[Home], None]], int]) -> int:
    """The server in a session of its own; what it says until it is ready is said here."""
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.setsid()
        if os.fork() == 0:
            _be_detached(run, write_end)
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    failed = True
    with open(read_end) as pipe:
        for line in pipe:
            message = json.loads(line)
            _say(message["text"], message["error"])
            failed = failed and message["error"]  # what is no error is the ready line
    return int(failed)


def _be_detached(run: Callable[[Say, Callable[[Home], None]], int], write_end: int) -> None:
    """In the child: never returns. It lets go of the pipe once it is ready, and the caller goes on."""
    code = 1
    pipe = open(write_end, "w", buffering=1)  # noqa: SIM115 (closed when the server is ready)

    def say(text: str, error: bool) -> None:
        if not pipe.closed:
            pipe.write(json.dumps({"text": text, "error": error}) + "\n")
            if not error:
                pipe.close()

    try:
        code = run(say, _into_log)
    except Exception:
        logging.getLogger(__name__).exception("the supervisor ended")
        say("The supervisor ended; its log says why.", True)
    finally:
        with contextlib.suppress(OSError, ValueError):
            pipe.close()
        os._exit(code)


def _into_log(home: Home) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = output.open_for_append(home.logs / "supervisor.log")
    for source, target in ((null, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(file)
