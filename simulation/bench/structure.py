"""The shape of the code: sizes of files and folders, import cycles, and files that run for a task.

`python -m simulation.bench.structure recommend` prints the files in which a function executes for
one task, on a few shops with a tiny random encoder.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from simulation.reporting.benchmark_page import BenchmarkFigure

if TYPE_CHECKING:
    from client.serving.service.service import Service


ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shared", "client", "server", "simulation")
BOUNDS = {
    "recommend": ("Files that run for GET recommend", 18, "of a service that has answered before"),
    "reserve": ("Files that run for a ledger reservation", 8, "of a plan, in an open ledger"),
    "simulate": ("Files that run for a tiny simulate", 90, "3 shops, 3 rounds, the whole command"),
    "event": (
        "Files that run from an event to a served answer",
        66,
        "service opened on a filled store, POST event, refresh, GET recommend",
    ),
}
"""Task -> name of its figure, bound and what was done."""
_INNER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
"""Scopes that a module's own body opens too."""
_PREFIXES = tuple(f"{ROOT / package}{os.sep}" for package in PACKAGES)
_WORDS = ("frozen", "ice", "cream", "apple", "juice", "bread", "soap", "large", "small", "private")
_N_ITEMS, _N_USERS, _N_SHOPS = 40, 42, 3
_EVENT = {"user_id": "u0", "item_id": "i1", "position": 9}
_MODEL = {"dim": 6, "rank": 4, "alpha": 4}
Graph = Mapping[str, set[str]]
"""Module -> modules of ours that it imports."""


def structure_figures() -> list[BenchmarkFigure]:
    """Counts files, cycles and the files that run for four tasks."""
    return [*_size_figures(), *_cycle_figures(read_imports()), *map(_run_figure, BOUNDS)]


def _size_figures() -> list[BenchmarkFigure]:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _files()}
    longest = max(lengths, key=lambda path: lengths[path])
    folders = Counter(path.parent for path in _files()) + Counter(
        path.parent.parent for path in _files(inits=True) if path.name == "__init__.py"
    )
    largest = max(folders, key=lambda folder: folders[folder])
    median = statistics.median(lengths.values())
    figures = (
        ("Python files", len(lengths), math.inf, "files", "without __init__; known, not bounded"),
        ("Length of a file, median", median, 200, "lines", ""),
        (
            "Length of a file, largest",
            lengths[longest],
            350,
            "lines",
            f"{longest.relative_to(ROOT)}",
        ),
        ("Largest folder", folders[largest], 14, "entries", _place(largest)),
    )
    return [BenchmarkFigure(*figure) for figure in figures]


def _cycle_figures(imports: Graph) -> list[BenchmarkFigure]:
    modules, packages = cycles(imports), package_cycles(imports)
    note = "; ".join(" <-> ".join(cycle) for cycle in modules + packages)
    return [
        BenchmarkFigure("Import cycles between modules", len(modules), 0, "cycles", note),
        BenchmarkFigure("Import cycles between packages", len(packages), 0, "cycles", note),
    ]


def _run_figure(task: str) -> BenchmarkFigure:
    name, bound, note = BOUNDS[task]
    # A process of its own: what another task left in caches would not run again.
    ended = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "simulation.bench.structure", task],
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    files = json.loads(ended.stdout.splitlines()[-1])
    return BenchmarkFigure(name, len(files), bound, "files", note)


def _place(path: Path) -> str:
    return f"`{path.relative_to(ROOT)}`"


def _files(*, inits: bool = False) -> list[Path]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in paths if inits or path.name != "__init__.py"]


def read_imports() -> Graph:
    """Reads what every module imports, inside functions and for types too."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in _files(inits=True)
    }
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        imports[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in inner]
            imports[module] |= {name for name in names if name in modules and name != module}
    return imports


def cycles(imports: Graph) -> list[list[str]]:
    """Lists the groups of modules of which each imports every other, directly or not."""
    names = sorted({*imports, *(name for names in imports.values() for name in names)})
    number = {name: i for i, name in enumerate(names)}
    pairs = [(number[a], number[b]) for a, imported in imports.items() for b in imported]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(names),) * 2)
    _, group = connected_components(graph.tocsr(), connection="strong")
    members = [[names[i] for i in np.flatnonzero(group == g)] for g in np.unique(group)]
    return [cycle for cycle in members if len(cycle) > 1]


def package_cycles(imports: Graph) -> list[list[str]]:
    """Lists cycles among what stands side by side in a package, files and whole packages."""
    parents = {"", *(module.rpartition(".")[0] for module in imports)}
    by_parent = (_children(imports, f"{parent}." if parent else "") for parent in sorted(parents))
    return [cycle for children in by_parent for cycle in cycles(children)]


def _children(imports: Graph, prefix: str) -> Graph:
    """What imports what directly below a package, each taken with all that is inside it."""

    def child(module: str) -> str:
        return prefix + module[len(prefix) :].partition(".")[0]

    children: dict[str, set[str]] = {}
    for module, imported in imports.items():
        if module.startswith(prefix):
            own = children.setdefault(child(module), set())
            own |= {child(name) for name in imported if name.startswith(prefix)}
            own.discard(child(module))
    return children


@contextmanager
def files_that_run() -> Iterator[set[str]]:
    """Collects the files of ours in which a function executes while the block runs.

    Bodies of modules and classes are no functions; threads count from their start.
    """
    files: set[str] = set()

    def record(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name not in _INNER
        if (
            event == "call"
            and is_function
            and code.co_filename.startswith(_PREFIXES)
            and code.co_filename.endswith(".py")
        ):
            files.add(code.co_filename)

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        files.discard(__file__)  # the end of this block is a function of ours too


def write_tiny_shops(folder: Path) -> None:
    """Writes `data` (three shops of users with tastes) and `encoder` (a random BERT)."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    rng, data = np.random.default_rng(0), folder / "data"
    data.mkdir()
    lines = ["user_id,item_id,position,shop_id"]
    for user in range(_N_USERS):
        items = rng.choice(np.arange(user % 3, _N_ITEMS, 3), 8, replace=False)
        lines += [f"u{user},i{i},{p},shop{user % _N_SHOPS}" for p, i in enumerate(items)]
    (data / "interactions.csv").write_text("\n".join(lines) + "\n")
    titles = [f"{_WORDS[i % 3]} {_WORDS[3 + i // 3 % 7]} {_WORDS[i % 10]}" for i in range(_N_ITEMS)]
    rows = [f"i{i},{title}" for i, title in enumerate(titles)]
    (data / "items.csv").write_text("\n".join(["item_id,title", *rows]) + "\n")
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    vocabulary = {word: i for i, word in enumerate((*special.values(), *_WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **special)
    tokenizer.save_pretrained(folder / "encoder")
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_attention_heads=2,
            num_hidden_layers=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
    ).save_pretrained(folder / "encoder")


def simulate_files(folder: Path) -> set[str]:
    """Runs `fedprofile simulate` in this process."""
    from click.testing import CliRunner

    from shared.cli import root

    write_tiny_shops(folder)
    sets = {f"model.{name}": value for name, value in _MODEL.items()}
    sets |= {"training.divisor": 10, "training.candidates": 16, "evaluation.bootstrap": 100}
    command = ["simulate", "--data", f"{folder / 'data'}", "--shop-column", "shop_id"]
    command += ["--split", "leave-last-out", "--encoder", f"{folder / 'encoder'}", "--rounds", "3"]
    command += [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    with files_that_run() as files:
        ended = CliRunner().invoke(root, [*command, "--out", f"{folder / 'run'}", "--quiet"])
    if ended.exception is not None:
        raise ended.exception
    return files


def _open_service(folder: Path, *, filled: bool) -> Service:
    from client.serving.service.settings import ServingSettings
    from client.serving.service.startup import ServingSource, open_service
    from shared.settings.run_settings import DataSettings, ModelSettings

    data = DataSettings(source=str(folder / "data"), shop_column="shop_id", order_column="position")
    return open_service(
        ServingSource(
            store=f"sqlite:///{folder / 'shop.db'}",
            data=None if filled else data,
            shop="shop0",
            settings=ServingSettings(),
            model=ModelSettings(encoder=str(folder / "encoder"), **_MODEL),
        )
    )


def recommend_files(folder: Path) -> set[str]:
    """Asks an open service for recommendations, for the second time."""
    from starlette.testclient import TestClient

    from client.serving.server import create_guarded_app

    write_tiny_shops(folder)
    service = _open_service(folder, filled=False)
    client = TestClient(create_guarded_app(service))
    client.get("/api/recommend/u0").raise_for_status()  # fills what is worked out once
    with files_that_run() as files:
        client.get("/api/recommend/u0").raise_for_status()
    service.close()
    return files


def event_files(folder: Path) -> set[str]:
    """Opens a service on a filled store, posts an event, refreshes and recommends."""
    from starlette.testclient import TestClient

    from client.serving.server import create_guarded_app
    from client.serving.state.refresh import refresh_engine

    write_tiny_shops(folder)
    _open_service(folder, filled=False).close()
    with files_that_run() as files:
        service = _open_service(folder, filled=True)
        client = TestClient(create_guarded_app(service))
        client.post("/api/feedback", json=[_EVENT]).raise_for_status()
        refresh_engine(service.engine)
        client.get("/api/recommend/u0").raise_for_status()
    service.close()
    return files


def reserve_files(folder: Path) -> set[str]:
    """Reserves a planned release in an open ledger."""
    from shared.privacy.accounting.guarantee import Mechanism
    from shared.privacy.ledger.admission import ReleaseRequest
    from shared.privacy.ledger.ledger import Ledger
    from shared.privacy.ledger.log.entries import LifetimeLimits

    limits = LifetimeLimits(epsilon=8, delta=1e-5)
    ledger = Ledger.open_or_create(folder, shop="bench", limits=limits)
    request = ReleaseRequest(
        run="bench",
        round=1,
        mechanism=Mechanism("dp-sgd", 10.0, 1.0, 1, 1.0),
        plan=(Mechanism("dp-sgd", 10.0, 1.0, 3, 1.0),),
        plan_digest="a" * 64,
        base_hash="b" * 64,
        inputs="c" * 64,
        planning="planned",
    )
    with files_that_run() as files:
        ledger.reserve(request)
    return files


TASKS: dict[str, Callable[[Path], set[str]]] = {
    "recommend": recommend_files,
    "reserve": reserve_files,
    "simulate": simulate_files,
    "event": event_files,
}


def main(task: str) -> None:
    """Prints the files of one task, relative to the project, as one line of JSON."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["FEDPROFILE_CACHE"] = str(Path(name) / "cache")
        files = TASKS[task](Path(name))
    sys.stdout.write(json.dumps(sorted(str(Path(file).relative_to(ROOT)) for file in files)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
