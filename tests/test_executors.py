"""One function, four places to run: this thread, spawned processes, a Dask cluster, and Modal's own client against a fake server.

Not proven here, because it needs Modal's machines: that the image builds, that the GPU is there, what the volume keeps.
"""

import asyncio
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask_cluster as dask_nodes
import executor_work as work
import pytest
from fake_modal import serve

from parallax_lib.core import backends, dask_workers, hardware, modal_containers, parcels, settings
from parallax_lib.core.errors import UserError
from parallax_lib.core.executors import ExecutorConfig, ItemFailed, WorkerDied, open_executor, run_map

TESTS = Path(__file__).parent
KINDS = {
    "here": {"kind": "local", "workers": 1},
    "processes": {"kind": "local", "workers": 2},
    "dask": {"kind": "dask", "workers": 2},
    "modal": {"kind": "modal", "workers": 2},
}


@pytest.fixture(scope="module")
def modal_server():
    with serve(pythonpath=[TESTS, TESTS.parent]) as fake:
        yield fake
        assert fake.refused == []


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory):
    with dask_nodes.serve(tmp_path_factory.mktemp("dask")) as address:
        yield address


@pytest.fixture
def config(request):
    """`config(**changes)`: an ExecutorConfig of the kind that the test is run for."""
    where = {}
    if request.param == "modal":
        request.getfixturevalue("modal_server")
    if request.param == "dask":
        where["address"] = request.getfixturevalue("dask_cluster")
    return partial(ExecutorConfig, **KINDS[request.param], **where, backoff_s=0.01)


everywhere = pytest.mark.parametrize("config", KINDS, indirect=True)
elsewhere = pytest.mark.parametrize("config", ["processes", "dask", "modal"], indirect=True)
modal_only = pytest.mark.parametrize("config", ["modal"], indirect=True)


def call(config, fn, *args):
    with open_executor(config) as executor:
        return executor.submit(fn, *args).result()


@everywhere
def test_where_the_call_runs(config, request):
    kind = request.node.callspec.params["config"]
    got = call(config(), work.double, 4)
    assert got["double"] == 8
    assert (got["pid"] == os.getpid()) == (kind == "here")
    assert got["remote"] == (kind == "modal")


@everywhere
def test_map_keeps_the_order(config):
    with open_executor(config()) as executor:
        assert [r["double"] for r in executor.map(work.double, range(8))] == [2 * i for i in range(8)]


@everywhere
def test_run_map_names_the_item_that_failed_and_goes_on(config):
    seen = []
    items = [{"n": n} for n in range(6)]
    results = dict(run_map(work.odd_fails, items, config(retries=0), lambda done, total: seen.append((done, total))))
    assert [results[i] for i in (0, 2, 4)] == [0, 2, 4]
    assert seen == [(n, 6) for n in range(1, 7)]
    failed = results[3]
    assert isinstance(failed, ItemFailed) and (failed.index, failed.item) == (3, {"n": 3})
    assert str(failed) == "item 3 ({'n': 3}): ValueError: bad input 3"
    assert isinstance(failed.__cause__, ValueError)


@everywhere
def test_an_error_crosses_with_its_type(config):
    with pytest.raises(ValueError, match="bad input 1"):
        call(config(retries=0), work.refuse, 1)


@everywhere
def test_failed_calls_are_tried_again(config, tmp_path):
    assert call(config(retries=2), work.succeeds_at, tmp_path / "a", 3) == 3
    with pytest.raises(OSError, match="try 2"):
        call(config(retries=1), work.succeeds_at, tmp_path / "b", 3)


@everywhere
def test_bad_input_is_not_tried_again(config, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        call(config(retries=5), work.bad_for_the_user, tmp_path / "tries")
    assert (tmp_path / "tries").read_text() == "."


@everywhere
def test_run_map_raises_what_the_user_must_mend(config, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        list(run_map(work.bad_for_the_user, [tmp_path / "tries"] * 8, config()))


@everywhere
def test_out_of_memory_halves_the_batch_until_it_fits(config, tmp_path):
    assert call(config(retries=2), work.needs_memory, tmp_path / "a", 32) == 8
    assert (tmp_path / "a").read_text() == "..."
    assert call(config(retries=1), work.needs_memory_without_hint, tmp_path / "b", 2) == "fits now"


@elsewhere
def test_a_dead_worker_is_replaced(config, tmp_path):
    assert call(config(retries=1), work.dies_once, tmp_path / "a") == "alive"
    with pytest.raises(WorkerDied):
        call(config(retries=0), work.dies_once, tmp_path / "b")


@elsewhere
def test_a_worker_killed_for_memory_halves_its_group_and_those_after_it_in_one_line(config, tmp_path):
    said, items = [], [40, 60, 80, 100, 120]
    found = dict(run_map(partial(work.killed_unless_halved, tmp_path / "kills"), items, config(retries=1), say=said.append))
    assert found == {i: size // 2 for i, size in enumerate(items)}
    kills = len((tmp_path / "kills").read_text())
    assert 1 <= kills <= config().workers == 2 and len(said) == kills  # no cluster ran one again on its own
    assert all(line.startswith("out of memory (WorkerDied: ") and line.endswith("2 parts, and so are those after it") for line in said)


@pytest.mark.parametrize("config", ["dask", "modal"], indirect=True)
def test_a_file_is_sent_once_to_a_worker_and_not_inside_every_call(config, tmp_path, monkeypatch):
    sent, pieces = [], parcels.pieces

    def counted(parcel):
        for at, piece in pieces(parcel):
            sent.append(len(piece))
            yield at, piece

    monkeypatch.setattr(parcels, "pieces", counted)
    monkeypatch.setattr(parcels, "PIECE", 1 << 20)
    (tmp_path / "weights").write_bytes(os.urandom(3_000_000))
    parcel = parcels.of(tmp_path / "weights")
    items = [{"files": {"weights": parcel}, "number": i} for i in range(12)]
    assert len(pickle.dumps(items[0])) < 1000
    found = dict(run_map(work.reads, items, config()))
    workers = {pid for _, pid in found.values()}
    assert len(found) == 12 and {sha for sha, _ in found.values()} == {parcel.sha256} != {""}
    assert sum(sent) == 3_000_000 * len(workers) if config().kind == "dask" else 3_000_000 <= sum(sent) <= 6_000_000
    before = sum(sent)
    with open_executor(config()) as executor:  # another run of the same driver
        assert executor.submit(work.reads, items[0]).result()[0] == parcel.sha256
    assert sum(sent) == before or config().kind == "modal"  # whose containers are new ones


@elsewhere
def test_a_call_past_its_time_is_ended_and_its_worker_replaced(config, tmp_path):
    assert call(config(timeout_s=2, retries=9), work.hangs_once, tmp_path / "a") == "awake"
    with pytest.raises(TimeoutError):
        call(config(timeout_s=1, retries=0), work.sleeps, 600)


@elsewhere
def test_an_error_that_cannot_be_unpickled_arrives_as_text(config):
    with pytest.raises(RuntimeError, match="TwoPart: this and that"):
        call(config(retries=0), work.raises_two_part)


@elsewhere
def test_large_payloads_cross_both_ways(config):
    payload = os.urandom(3_000_000)
    assert call(config(), work.echo, payload) == payload


@elsewhere
def test_an_interrupt_ends_what_runs_and_cancels_what_waits(config):
    with pytest.raises(KeyboardInterrupt):
        with open_executor(config()) as executor:
            futures = [executor.submit(work.sleeps, 600) for _ in range(6)]
            raise KeyboardInterrupt
    for future in futures:
        with pytest.raises((CancelledError, WorkerDied)):
            future.result(timeout=60)


@elsewhere
@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_works_where_a_loop_is_running_as_in_a_notebook(config):
    async def cell():
        return sorted((i, r["double"]) for i, r in run_map(work.double, [5, 6], config()))

    assert asyncio.run(cell()) == [(0, 10), (1, 12)]


def test_waits_double(tmp_path):
    def fails():
        times.append(time.monotonic())
        raise OSError("busy")

    times = []
    with pytest.raises(OSError):
        call(ExecutorConfig(retries=3, backoff_s=0.02), fails)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 3 and all(gap >= 0.02 * 2**i for i, gap in enumerate(gaps))


@modal_only
def test_what_is_asked_of_modal(config, modal_server):
    asked = config(
        gpu="A100-80GB:2", timeout_s=900, volume="weights", max_containers=3, packages=("pot",), folders=("tests",),
        gpu_else=("H100", "H200"), memory_gib=12.5, secrets=("hub",), start_s=120,
    )  # fmt: skip
    assert call(replace(asked, gpu="A100-80GB:2", gpu_else=()), work.double, 1)["double"] == 2
    assert list(modal_server.functions.values())[-1].definition.resources.gpu_config.gpu_type == "A100-80GB"
    assert call(asked, work.double, 1)["double"] == 2
    ranked = list(modal_server.functions.values())[-1].ranked
    gpus = [each.resources.gpu_config for each in ranked]
    assert [(gpu.gpu_type, gpu.count) for gpu in gpus] == [("A100-80GB", 2), ("H100", 2), ("H200", 2)]
    function = ranked[0]
    assert (function.timeout_secs, function.autoscaler_settings.max_containers) == (900, 3)
    assert (function.startup_timeout_secs, function.resources.memory_mb, list(function.secret_ids)) == (120, 12_800, ["st-1"])
    (volume,) = function.volume_mounts
    assert (volume.mount_path, volume.volume_id) == ("/weights", modal_server.volumes["weights"])


@modal_only
def test_a_secret_that_modal_does_not_have_is_told_in_one_line(config):
    with pytest.raises(UserError, match="modal: Secret 'nobody' not found") as caught:
        call(config(secrets=("nobody",)), work.double, 1)
    assert "\n" not in str(caught.value)


@modal_only
def test_the_image_holds_the_locked_dependencies(config, modal_server):
    modal_server.images.clear()
    call(config(volume="weights", packages=("pot",)), work.double, 1)
    commands = [command for image in modal_server.images.values() for command in image.dockerfile_commands]
    (install,) = [c for c in commands if "uv pip install" in c]
    assert "--constraints /lock/constraints.txt" in install
    assert "torch" in install and "transformers" in install and "pot" in install
    python = f"python:{sys.version_info.major}.{sys.version_info.minor}"
    assert any(c.startswith("FROM") and python in c for c in commands)
    assert any("HF_HOME" in c and "/weights" in c for c in commands)


def test_without_a_token_one_line_says_what_to_do(tmp_path):
    script = """
from parallax_lib.core.executors import ExecutorConfig, run_map
try:
    list(run_map(print, [1], ExecutorConfig(kind="modal")))
except ValueError as error:
    print(error)
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == modal_containers.NO_TOKEN + "\n", done.stderr


@pytest.mark.parametrize("kind, package", [("modal", "modal"), ("dask", "distributed")])
def test_without_the_package_one_line_says_what_to_do(kind, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as caught:
        call(ExecutorConfig(kind=kind), work.double, 1)
    assert str(caught.value) == backends.NO_PACKAGE.format(kind) and f".[{kind}]" in str(caught.value)


@pytest.mark.parametrize(
    "address, said",
    [("", "executor.address: empty"), ("tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
     ("nowhere", "no Dask scheduler answers at nowhere"), ("ftp://x:1", "no Dask scheduler answers at ftp://x:1")],
)  # fmt: skip
def test_a_scheduler_that_is_not_there_is_told_in_one_line(address, said, monkeypatch):
    monkeypatch.setattr(dask_workers, "CONNECT_S", 1)
    with pytest.raises(UserError, match=said) as caught:
        call(ExecutorConfig(kind="dask", address=address), work.double, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["{}", "not json"])
def test_a_scheduler_file_is_read(dask_cluster, tmp_path, file, monkeypatch):
    monkeypatch.setattr(dask_workers, "CONNECT_S", 5)
    named = tmp_path / "scheduler.json"
    named.write_text(json.dumps({"address": dask_cluster}))
    assert call(ExecutorConfig(kind="dask", address=str(named)), work.double, 2)["double"] == 4
    named.write_text(file)
    with pytest.raises(UserError, match="executor.address"):
        call(ExecutorConfig(kind="dask", address=str(named)), work.double, 2)


def test_a_cluster_without_workers_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(dask_workers, "CONNECT_S", 1)
    with dask_nodes.serve(tmp_path, workers=0) as address, pytest.raises(UserError, match="has no worker; start some"):
        call(ExecutorConfig(kind="dask", address=address), work.double, 1)


def test_a_worker_that_would_run_calls_side_by_side_is_refused(tmp_path):
    said = "2 calls in one process.*--nthreads 1"
    with dask_nodes.serve(tmp_path, workers=1, threads=2) as address, pytest.raises(UserError, match=said):
        call(ExecutorConfig(kind="dask", address=address), work.double, 1)


def test_a_worker_that_nobody_would_start_again_is_refused(tmp_path):
    with dask_nodes.serve(tmp_path, workers=1, more=("--no-nanny",)) as address, pytest.raises(UserError, match="no nanny"):
        call(ExecutorConfig(kind="dask", address=address), work.double, 1)


def test_the_only_worker_is_free_again_after_a_call_past_its_time(tmp_path):
    with dask_nodes.serve(tmp_path, workers=1) as address:
        once = partial(ExecutorConfig, kind="dask", address=address, retries=0)
        before = call(once(), work.double, 1)["pid"]
        with open_executor(once(timeout_s=1.2)) as short, open_executor(once(timeout_s=60)) as long:
            with pytest.raises(TimeoutError):
                short.submit(work.sleeps, 600).result()
            assert long.submit(work.double, 1).result()["pid"] != before  # given to the worker while it still leaves


def test_a_scheduler_that_dies_is_told_at_once(tmp_path):
    killed = threading.Event()

    def kill():
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        subprocess.run(["pkill", "-9", "-f", f"dask scheduler.*{tmp_path}/scheduler.json"], check=True)
        killed.set()

    with dask_nodes.serve(tmp_path, workers=1) as address:
        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises(UserError, match="is gone; start it and its workers again"):
            call(ExecutorConfig(kind="dask", address=address, retries=5), work.touches_and_sleeps, tmp_path / "begun", 600)
    assert killed.is_set()


def test_code_that_cannot_be_read_there_is_told_in_one_line(dask_cluster, monkeypatch):
    def elsewhere():
        raise AssertionError

    elsewhere.__module__, elsewhere.__qualname__ = "parallax_lib.of_tomorrow", "elsewhere"
    later = types.ModuleType("parallax_lib.of_tomorrow")
    later.elsewhere = elsewhere
    monkeypatch.setitem(sys.modules, "parallax_lib.of_tomorrow", later)
    with pytest.raises(UserError, match="another parallax_lib than this process") as caught:
        call(ExecutorConfig(kind="dask", address=dask_cluster), elsewhere)
    assert "\n" not in str(caught.value)


def test_a_worker_with_other_code_is_refused(dask_cluster, monkeypatch):
    monkeypatch.setattr(dask_workers, "code", lambda: "of another commit")
    with pytest.raises(UserError, match="another parallax_lib than this process"):
        call(ExecutorConfig(kind="dask", address=dask_cluster), work.double, 1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "slurm"}, "executor.kind: 'slurm' is not one of local, dask, modal"),
        ({"workers": 0}, "executor.workers: 0 must be at least 1"),
        ({"retries": -1}, "executor.retries: -1 must be at least 0"),
        ({"memory_gib": -1}, "executor.memory_gib: -1 must be at least 0"),
        ({"gpu": "H100", "gpu_else": ("A100:2",)},
         "executor.gpu_else: 'A100:2': write NAME alone, and the first choice with its count in executor.gpu"),
        ({"gpu_else": ("A100",)}, "executor.gpu_else: 'A100': write NAME alone, and the first choice with its count in executor.gpu"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(change, message):
    with pytest.raises(UserError) as caught:
        ExecutorConfig(**change)
    assert str(caught.value) == message


def test_the_run_parameters_are_settings_of_the_executor():
    assert ExecutorConfig(**settings.Executor().model_dump()) == ExecutorConfig()


def test_threads_are_as_many_as_cores_are_idle(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    for physical, expected in ((8, (4, 2, 1)), (None, (4, 2, 1)), (4, (4, 1, 1))):  # of eight logical cores, of which four are ours
        monkeypatch.setattr(hardware.psutil, "cpu_count", lambda logical=True, physical=physical: 8 if logical else physical)
        for busy, threads in zip((0, 70, 100), expected, strict=True):  # percent of all
            monkeypatch.setattr(hardware.psutil, "cpu_percent", lambda seconds, busy=busy: busy)
            assert hardware.idle_cores() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(hardware.psutil, "cpu_percent", lambda seconds: 0)
    assert hardware.idle_cores() == 2


def test_local_workers_take_the_gpus_in_turn_and_share_the_cores(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setenv("TEST_MEET", str(tmp_path))
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    with open_executor(ExecutorConfig(workers=3)) as executor:
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
        seen = [f.result() for f in [executor.submit(work.lent, names, 3) for _ in range(3)]]
    assert sorted(s["CUDA_VISIBLE_DEVICES"] for s in seen) == ["2", "2", "5"]
    assert {s["OMP_NUM_THREADS"] for s in seen} == {str(max(1, os.cpu_count() // 3))}
    assert {s["OMP_WAIT_POLICY"] for s in seen} == {"PASSIVE"}
    assert hardware.gpu_memory_share(3, 0.8) == 0.4 and hardware.gpu_memory_share(1, 0.8) == 0.8


def test_dask_workers_that_see_the_same_gpus_agree_who_takes_which(monkeypatch, tmp_path):
    for name, value in {"CUDA_VISIBLE_DEVICES": "4,7", "TEST_MEET": str(tmp_path / "met"), "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "met").mkdir()
    with dask_nodes.serve(tmp_path, workers=3) as address:
        given = ExecutorConfig("dask", workers=3, address=address, retries=0)
        with open_executor(given) as executor:
            done = [executor.submit(work.lent, ("CUDA_VISIBLE_DEVICES",), 2) for _ in range(3)]
            errors = [future.exception() for future in done]
        assert sorted(f.result()["CUDA_VISIBLE_DEVICES"] for f in done if not f.exception()) == ["4", "7"]
        (refused,) = filter(None, errors)
        assert isinstance(refused, UserError) and "\n" not in str(refused)
        assert "0 of its 2 GPUs are free of other workers, 1 needed; start a worker less" in str(refused)


def test_a_folder_that_others_may_write_claims_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(hardware, "_claimed", [])
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    for name in ("open", "link"):
        with pytest.raises(UserError, match="not a folder of this user's alone"):
            hardware.claim_gpus(1, tmp_path / name)
    assert not list((tmp_path / "open").iterdir())


def test_processes_of_a_worker_read_the_file_that_it_was_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "_kept", {})
    sent = parcels.of(b"weights")
    parcels.put(sent.sha256, sent.size, 0, b"weights", tmp_path)
    own = pickle.dumps(pickle.loads(pickle.dumps(sent)))  # as the worker that has it gives it on
    parcels._kept.clear()
    assert parcels.bytes_of(pickle.loads(own)) == b"weights"
    with pytest.raises(KeyError):
        parcels.bytes_of(pickle.loads(pickle.dumps(sent)))  # a worker without it knows the name alone


def test_a_gpu_is_free_again_once_its_process_has_died(tmp_path):
    code = f"from parallax_lib.core import hardware; hardware.claim_gpus(2, {str(tmp_path)!r}); print(hardware.visible_gpus(), flush=True)"
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "0,1,GPU-3f"}
    run = partial(subprocess.Popen, env=env, stdout=subprocess.PIPE, text=True)
    holding = run([sys.executable, "-c", f"{code}; input()"], stdin=subprocess.PIPE)
    assert holding.stdout.readline() == "['0', '1']\n"
    second = run([sys.executable, "-c", code], stderr=subprocess.PIPE)
    assert "1 of its 3 GPUs are free" in second.communicate()[1]
    holding.kill()
    holding.wait()
    assert run([sys.executable, "-c", code]).communicate()[0] == "['0', '1']\n"
    as_told = subprocess.run([sys.executable, "-c", code], env=env | {"CUDA_VISIBLE_DEVICES": "GPU-3f"}, capture_output=True, text=True)
    assert as_told.stdout == "['GPU-3f']\n"  # one alone was named: as the user says


def test_gpus_are_named_with_their_count(monkeypatch):
    assert [hardware.gpus_asked(text) for text in ("", "H200", "A100-80GB:4")] == [("", 1), ("H200", 1), ("A100-80GB", 4)]
    for text in ("H200:", "H200:0", ":2", "H200:two"):
        with pytest.raises(UserError, match="write H200 or H200:2"):
            ExecutorConfig(gpu=text)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    assert [hardware.gpus_of_slot(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4,5", "6,7", "4,5"]
    assert hardware.gpu_memory_share(2, 0.8, 2) == 0.8 and hardware.gpu_memory_share(3, 0.8, 2) == 0.4
    with pytest.raises(UserError, match="8 GPUs, but this machine shows 5"):
        hardware.gpus_of_slot(0, 8)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["here", "processes", "modal"], indirect=True)
def test_a_call_of_several_gpus_runs_in_ranks_that_meet(config, monkeypatch):
    monkeypatch.setattr(backends, "GRACE_S", 0.1)
    given = config(gpu="cpu:2", retries=0)
    with open_executor(given) as executor:
        first, again = (executor.submit(work.number).result() for _ in range(2))
        assert first[:3] == again[:3] == (0, 2, 11.0)
        if given.kind == "local":
            with pytest.raises(MemoryError):
                executor.submit(work.one_fails, "raises").result()
            with pytest.raises(WorkerDied) as died:
                executor.submit(work.one_fails, "dies").result()
            assert died.value.exit_code == 5 and executor.submit(work.number).result()[:3] == (0, 2, 11.0)
    if given.kind == "local" and given.workers == 1:
        lasting = [call(given, work.number)[3] for _ in range(2)]
        assert lasting[0] == lasting[1] != os.getpid()


def test_dask_workers_that_may_start_no_processes_are_told(dask_cluster):
    given = ExecutorConfig(kind="dask", address=dask_cluster, gpu="cpu:2", retries=0)
    with pytest.raises(UserError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        call(given, work.double, 1)


def certificates(folder):
    """A key, and a certificate that vouches for itself, as the three files that TLS takes."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return {"tls_ca": str(folder / "cert.pem"), "tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_cluster_that_speaks_tls_is_reached_with_the_files_of_the_settings(tmp_path):
    files = certificates(tmp_path)
    words = ("--protocol", "tls", "--tls-ca-file", files["tls_ca"], "--tls-cert", files["tls_cert"], "--tls-key", files["tls_key"])
    with dask_nodes.serve(tmp_path, workers=1, tls=words) as address:
        assert address.startswith("tls://")
        assert call(ExecutorConfig("dask", address=address, **files), work.double, 4)["double"] == 8
        with pytest.raises(UserError, match="executor.address: no Dask scheduler answers at tls://"):
            call(ExecutorConfig("dask", address=address), work.double, 4)
    (tmp_path / "plain").mkdir()
    with dask_nodes.serve(tmp_path / "plain", workers=0) as address:
        with pytest.raises(UserError, match="executor.address: no Dask scheduler answers at tcp://.*encryption"):
            call(ExecutorConfig("dask", address=address, **files), work.double, 4)


def test_tls_takes_all_three_files(tmp_path):
    files = {name: str(tmp_path / name) for name in ("tls_ca", "tls_cert", "tls_key")}
    for name in files:
        (tmp_path / name).write_text("x")
    assert ExecutorConfig("dask", **files).tls_key
    for name in files:
        for value in ("", str(tmp_path / "none")):
            with pytest.raises(UserError, match=f"executor.{name}: .*is no file; TLS takes all of tls_ca, tls_cert, tls_key"):
                ExecutorConfig("dask", **{**files, name: value})


def test_the_exit_code_that_stands_for_out_of_memory_halves_the_batch():
    config = ExecutorConfig(workers=2, retries=2, backoff_s=0, oom_exit_code=7)
    assert dict(run_map(work.ends_with_7, [40], config)) == {0: 10}
    [(_, failed)] = run_map(work.ends_with_7, [40], ExecutorConfig(workers=2, retries=2, backoff_s=0))
    assert isinstance(failed, ItemFailed) and "exit code 7" in str(failed)
