"""The direction of imports, as docs/architecture.md states it."""

from __future__ import annotations

import ast
from pathlib import Path

import kedge

SOURCE = Path(kedge.__file__).parent

LAYER_0 = {"errors", "arn", "clock", "config", "core", "home", "tls", ""}
COMPOSITION = {"app", "telemetry", "messaging", "scaling", "offline", "node", "testing", "__main__"}
FAST = ("serving.router", "node", "compute.forkserver")
"""Processes that have to start fast or stay clean: what they may never import, directly or through our own modules."""
HEAVY = {"botocore", "boto3", "sqlalchemy", "uvicorn"}


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix("__init__").removesuffix(".")] = path
    return found


def imports(path: Path, *, at_start_only: bool = False) -> set[str]:
    """Names of all imported modules; the ones for type checkers left out."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()

    def walk(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                walk(node.orelse)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif not (at_start_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
                walk([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])
                for handler in getattr(node, "handlers", []):
                    walk(handler.body)

    walk(tree.body)
    return found


def ours(path: Path, known: dict[str, Path], **options: bool) -> set[str]:
    return {
        name.removeprefix("kedge.")
        for name in imports(path, **options)
        if name.startswith("kedge.") and name.removeprefix("kedge.") in known
    }


def concept(module: str) -> str:
    return module.partition(".")[0]


def is_composition(module: str) -> bool:
    return concept(module) in COMPOSITION | {"cli"}


def test_layer_0_imports_nothing_above_it():
    known = modules()
    for module in LAYER_0 & known.keys():
        assert ours(known[module], known) <= LAYER_0, module


def test_nothing_imports_the_composition_roots():
    known = modules()
    for module, path in known.items():
        if not is_composition(module):
            assert not {m for m in ours(path, known) if is_composition(m)}, module


def test_operations_and_controllers_do_not_import_one_anothers():
    known = modules()
    for module, path in known.items():
        if is_composition(module):
            continue
        for other in ours(path, known):
            if other.rpartition(".")[2] in ("operations", "controller"):
                assert concept(other) == concept(module), f"{module} imports {other}"


def test_the_wire_and_the_store_know_no_concept():
    known = modules()
    allowed = {"wire", "store", "identity.records", "identity.keys"} | LAYER_0
    for module, path in known.items():
        if concept(module) in ("wire", "store"):
            for other in ours(path, known):
                assert concept(other) in allowed or other in allowed, f"{module} imports {other}"


def test_fast_processes_import_nothing_heavy_at_start():
    known = modules()
    for start in FAST:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            module = waiting.pop()
            if module in seen or module not in known:
                continue
            seen.add(module)
            waiting.extend(ours(known[module], known, at_start_only=True))
            heavy = {n.partition(".")[0] for n in imports(known[module], at_start_only=True)} & HEAVY
            assert not heavy, f"{start} imports {heavy} through {module}"


ACTS = {"asyncio", "os", "random", "secrets", "socket", "sqlalchemy", "subprocess", "threading", "time", "uuid"}
"""What a decision may not reach for: no clock, no I/O, no randomness."""
VALUES = {"random", "random.Random", "uuid", "uuid.UUID"}
"""A generator may be handed in, and an id may be read."""
RECORDS_ONLY = {"wire.http", "wire.checksums", "serving.runtimes.base"}
"""Modules of plain values that say nothing of being PURE, because they log or cache."""


def pure_modules(known: dict[str, Path]) -> set[str]:
    """Those whose docstring says so, in capitals."""
    return {name for name, path in known.items() if "PURE" in (ast.get_docstring(ast.parse(path.read_text())) or "")}


def test_what_says_that_it_is_pure_is():
    known = modules()
    pure = pure_modules(known)
    assert len(pure) > 20
    for module in pure:
        reached = {n for n in imports(known[module]) if n.partition(".")[0] in ACTS}
        assert reached <= VALUES, f"{module}: {reached}"
        for other in ours(known[module], known):
            values = other in pure | RECORDS_ONLY or other.rpartition(".")[2] == "errors"
            package = known[other].name == "__init__.py"
            assert values or package or concept(other) in LAYER_0, f"{module} imports {other}"


PORTS = {"wire", "store", "objects", "compute", "call", "loop", "listing", "tags"}


def test_the_ports_import_no_operations_of_a_concept():
    """Layer 2 lies below every service: it imports layers 0 to 2 alone."""
    known = modules()
    pure = pure_modules(known)
    below = {"call", "loop", "listing", "identity.keys", "identity.authentication"} | LAYER_0
    for module, path in known.items():
        if concept(module) not in ("store", "wire", "compute", "call", "loop", "listing"):
            continue
        for other in ours(path, known):
            inside = concept(other) in PORTS and not other.endswith("operations")
            assert inside or other in pure | below or concept(other) in LAYER_0, f"{module} imports {other}"
