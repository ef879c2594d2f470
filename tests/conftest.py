"""One torch thread a test process, the longest files first, and fixtures of many files.

Two processes on two cores that spin at each other's barriers take ten times the CPU.  A file goes to one process as a whole, so that a long
one that starts last keeps the other processes waiting: run with --no-loadscope-reorder, which keeps the order made here.  Some tests
wait for processes to start or to end, so `make test` has three processes on two cores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parallax_lib.core.imports import without_grammar_of_iris
from parallax_lib.verdict import admission, reference, validate

with without_grammar_of_iris():
    import nbformat  # noqa: F401  (by every test process; three seconds otherwise)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles the whole library
sys.dont_write_bytecode = False
LONGEST = (  # by the CPU time that their quick tests take
    "tiny_run", "study", "admission", "executors", "proof", "validate", "offload", "serialised_control", "cuda_emulation", "evidence",
    "sandbox", "rejudge", "wheel", "study_page", "task_file", "pipeline", "text_reward", "arms", "redteam", "published_workflow",
    "choosers", "checkpoints", "augment", "cupti", "minibench", "cross_validation", "extending",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    place = {f"test_{name}.py": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True, scope="session")
def shipped_rollouts_once():
    """Reading data/rollouts takes seconds, and nothing changes it: each test gets a copy of what was read first."""
    files = sys.modules.get("parallax_lib.search.rollout_files")
    if files is None:
        yield
        return
    read, found = files._own, []

    def once(folder, width):
        if folder.resolve() != files.resolve("data/rollouts").resolve():
            return read(folder, width)
        found or found.append(read(folder, None))
        frame, vectors = found[0]
        return (frame.copy(), vectors.copy()) if width in (None, vectors.shape[2]) else read(folder, width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_own", once)
        yield


@pytest.fixture
def unadmitted(monkeypatch):
    """Judging without the known programs of test_admission.py: builds are counted, toolchains are made up."""
    monkeypatch.setattr(admission, "PARTS", ())


REFERENCES: dict[str, reference.Reference] = {}


@pytest.fixture
def references_once(monkeypatch):
    """What a kernel's own programs print is learned once in a test process: it depends on the key alone."""
    real = validate.make_reference

    def once(kernel, source, bench):
        key = reference.reference_key(kernel, source, bench)
        found = REFERENCES.get(key) or real(kernel, source, bench)
        if not found.failure:
            REFERENCES[key] = found
        return found

    monkeypatch.setattr(validate, "make_reference", once)


@pytest.fixture(scope="session")
def forked_kernels(tmp_path_factory):
    """Kernels have imported torch and the like before they start; nbval and test_pipeline.py start kernels as users do."""
    from ipykernel.kernelspec import get_kernel_dict

    folder = tmp_path_factory.mktemp("kernels")
    kernel, sock = str(Path(__file__).with_name("forked_kernel.py")), str(folder / "socket")
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(get_kernel_dict() | {"argv": [sys.executable, "-S", kernel, sock, "-f", "{connection_file}"]}))
    server = subprocess.Popen([sys.executable, kernel, sock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        assert server.stdout.readline() == "ready\n"
        yield
        server.stdin.close()
