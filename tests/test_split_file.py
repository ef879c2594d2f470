"""The split of hand-written kernels: clusters, the file that ships, families and tasks under it, and pairs of its training side."""

import json
import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from parallax_lib.__main__ import main
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import DIRECTIONS, Suite
from parallax_lib.search.rollout_files import write_rollouts
from parallax_lib.study import cross_validation
from parallax_lib.tasks import clusters, split_file, suites
from parallax_lib.tasks.dependence import CLASSES, dependence_class
from parallax_lib.tasks.hecbench import checkout
from parallax_lib.tasks.synthetic import composed_patterns, generator
from parallax_lib.tasks.task import put_together, split_of, tasks

FILE = "data/splits/handwritten.yaml"
SPLIT = Suite(split=FILE)
CHECKOUT = os.environ.get("HECBENCH_ROOT", "")


@pytest.fixture(scope="module")
def shipped():
    return yaml.safe_load((ROOT / FILE).read_text())


@pytest.fixture(scope="module")
def bundled():
    return {kernel.name: kernel for kernel in suites.load_suite(Suite())}


def naive_containments(programs):
    """Every pair of programs, one after the other."""
    found = {name: [clusters.shingles(text) for text in texts] for name, texts in programs.items()}
    common = Counter(s for sets in found.values() for s in set.union(*sets))
    rare = {name: [{s for s in each if common[s] <= clusters.COMMON} for each in sets] for name, sets in found.items()}
    shares = {}
    for a in rare:
        for b in rare:
            if a < b:
                shares[a, b] = max(len(x & y) / max(1, min(len(x), len(y))) for x in rare[a] for y in rare[b])
    return shares


def test_containment_is_that_of_every_pair_looked_at_alone(bundled):
    programs = {name: tuple(kernel.sources.values()) for name, kernel in list(bundled.items())[:14]}
    naive = naive_containments(programs)
    assert {pair: share for pair, share in naive.items() if share} == pytest.approx(clusters.containments(programs))


def test_comments_numbers_arguments_and_times_do_not_count():
    loop = "void f(float *a, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * 2 + 1; }"
    noise = '// licence\n#include <cstdio>\nvoid f(float *a, int n) { /* twice */ for (int i = 0; i < n; i++) a[i] = a[i] * 3 + 7; }'
    assert clusters.shingles(loop) == clusters.shingles(noise) != set()
    assert clusters.shingles('n = atoi(argv[1]); printf("%d", n); auto t = std::chrono::steady_clock::now();') == set()


def test_clusters_join_through_others_and_through_twins():
    bodies = [f"x{i} = y{i} + z{i}[k{i}] * w{i};" * 1 for i in range(40)]
    programs = {"a": ["".join(bodies[:10])], "b": ["".join(bodies[5:15])], "c": ["".join(bodies[10:20])], "d": ["".join(bodies[30:])]}
    assert clusters.clusters(programs) == [["a", "b", "c"], ["d"]]
    assert clusters.clusters(programs, [("missing", "d", "a")]) == [["a", "b", "c", "d"]]


@pytest.mark.parametrize(
    "name, kind",
    [("saxpy", "map"), ("jacobi1d", "stencil"), ("dotprod", "reduction"), ("prefixsum", "scan"), ("histo", "scatter_atomic"),
     ("gatherperm", "irregular"), ("gemm", "dense_linear_algebra"), ("ranksort", "sort")],
)  # fmt: skip
def test_dependence_class_is_read_from_the_program(bundled, name, kind):
    assert dependence_class(bundled[name].sources["cuda"]) == kind


def test_file_keeps_clusters_whole_and_bundled_kernels_for_testing(shipped, bundled):
    by_cluster: dict[str, list] = {}
    for key, row in shipped["kernels"].items():
        by_cluster.setdefault(row["cluster"], []).append((key, row))
        assert row["class"] in CLASSES and row["side"] in split_file.SIDES and row["fold"] in range(5), key
    for cluster, members in by_cluster.items():
        assert len({(row["side"], row["fold"]) for _, row in members}) == 1, cluster
        even = int(sha256(cluster.encode()).hexdigest(), 16) % 2 == 0
        tested = even or any(key.startswith("minibench/") for key, _ in members)
        assert (members[0][1]["side"] == "test") == tested, cluster
    assert {key for key in shipped["kernels"] if key.startswith("minibench/")} == {f"minibench/{name}" for name in bundled}
    for group in shipped["twins"]:
        assert len({shipped["kernels"][key]["cluster"] for key in group["kernels"] if key in shipped["kernels"]}) == 1, group


def test_file_holds_enough_tasks(shipped):
    right = Counter(row["side"] for row in shipped["kernels"].values() for _ in row.get("right", ()))
    assert right["test"] >= 190 and right["train"] >= 60


def test_families_are_clusters_and_no_forge_family_is_tested(shipped):
    families = {row["cluster"]: row["side"] for row in shipped["kernels"].values()}
    assert {family: split_of(family, SPLIT, generator.SEEN_FAMILIES) for family in families} == families
    forge = {*generator.ALL_FAMILIES, *composed_patterns.FAMILIES}
    assert not forge & {*families}
    sides = {family: split_of(family, SPLIT) for family in forge}
    assert {*sides.values()} == {"train", "valid"}
    before = {family: split_of(family, Suite()) for family in forge}  # without the file some are tested, and the others are as they are
    assert "test" in before.values()
    assert {f: s for f, s in sides.items() if before[f] != "test"} == {f: s for f, s in before.items() if s != "test"}


def test_folds_of_a_cross_validation_are_test_clusters_alone(shipped):
    families = {row["cluster"]: row["side"] for row in shipped["kernels"].values()}
    fold_of = cross_validation.folds([*families, *generator.ALL_FAMILIES], 5, SPLIT)
    assert {*fold_of} == {family for family, side in families.items() if side == "test"} and {*fold_of.values()} == {*range(5)}


def test_one_fold_tests_all_test_clusters_and_leaves_the_other_sides_as_they_are(shipped):
    families = {row["cluster"]: row["side"] for row in shipped["kernels"].values()} | {"w_free": "valid", "map": "train"}
    fold_of = cross_validation.folds([*families], 1, SPLIT)
    rows = pd.DataFrame({"family": [*families], "split": [*families.values()]})
    assert cross_validation.splits(rows, fold_of, 0).tolist() == [*families.values()]
    with pytest.raises(UserError, match="prm.folds: 1 for .* 2 is the least"):
        cross_validation.folds([*families], 1)


def test_every_bundled_task_is_a_test_task():
    offered = tasks(suites.load_suite(SPLIT), DIRECTIONS)
    assert len(offered) == 4 * 34 and {split_of(task.kernel.family, SPLIT) for task in offered} == {"test"}


def test_bundled_kernels_of_different_clusters_share_little(bundled, shipped):
    cluster = {name: shipped["kernels"][f"minibench/{name}"]["cluster"] for name in bundled}
    shares = clusters.containments({name: tuple(kernel.sources.values()) for name, kernel in bundled.items()})
    assert max(share for (a, b), share in shares.items() if cluster[a] != cluster[b]) <= 0.35  # boilerplate is less common among them


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="HECBENCH_ROOT names no HeCBench checkout")
def test_no_training_kernel_shares_a_program_with_a_test_kernel(bundled, shipped):
    kernels = [*bundled.values(), *checkout.kernels(Path(CHECKOUT))]
    programs = {f"{kernel.suite}/{kernel.name}": tuple(put_together(kernel).sources.values()) for kernel in kernels}
    side = {name: shipped["kernels"][name]["side"] for name in programs if name in shipped["kernels"]}
    assert len(side) > 100
    between = [share for (a, b), share in clusters.containments(programs).items() if a in side and b in side and side[a] != side[b]]
    assert max(between) <= 0.3


@pytest.fixture
def own_split(tmp_path):
    """A file where saxpy and gemm are trained on, gemm from serial to CUDA alone."""
    row = {"class": "map", "fold": 0, "side": "train"}
    named = {"minibench/saxpy": row | {"cluster": "cluster-saxpy", "right": list(DIRECTIONS)}}
    named["minibench/gemm"] = row | {"cluster": "cluster-gemm", "right": ["serial-cuda"]}
    named["minibench/bfs"] = row | {"cluster": "cluster-bfs", "side": "test", "right": list(DIRECTIONS)}
    named["minibench/histo"] = row | {"cluster": "cluster-histo"}
    path = tmp_path / "split.yaml"
    path.write_text(yaml.safe_dump({"kernels": named}))
    return path


def test_kernels_that_are_not_named_or_not_right_are_left_out(own_split, bundled, capsys):
    twin = replace(bundled["saxpy"], suite="hecbench")
    stranger = replace(bundled["lcs"], suite="forge", name="lcs_1")
    values = yaml.safe_load(own_split.read_text())
    values["kernels"]["hecbench/saxpy"] = values["kernels"]["minibench/saxpy"]
    own_split.write_text(yaml.safe_dump(values))
    kept = suites.as_stated([*bundled.values(), twin, stranger], str(own_split))
    assert [kernel.name for kernel in kept] == ["bfs", "gemm", "saxpy", "saxpy-hecbench", "lcs_1"]
    assert [t.id for t in tasks(kept[1:2], DIRECTIONS)] == ["gemm.serial-cuda"]
    assert kept[3].family == "cluster-saxpy" and kept[4] == stranger
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "31 kernels are left out" in told and "histo" in told and "lcs_1" not in told


@pytest.mark.parametrize(
    "change, said",
    [({"side": "dev"}, "side is one of train, test"), ({"right": ["omp-serial"]}, "'omp-serial' is not one of"),
     ({"cluster": "cluster-bfs"}, "cluster-bfs is on both sides")],
)  # fmt: skip
def test_file_that_contradicts_itself_is_refused(own_split, change, said):
    values = yaml.safe_load(own_split.read_text())
    values["kernels"]["minibench/saxpy"].update(change)
    own_split.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=said):
        split_file.rows(str(own_split))


def params_of(tmp_path, split):
    path = tmp_path / "pairs.yaml"
    path.write_text(yaml.safe_dump({"run": "pairs", "suite": {"split": str(split)}}))
    return str(path)


def test_pairs_are_the_programs_of_training_kernels(tmp_path, own_split, bundled, capsys):
    out = tmp_path / "pairs.jsonl"
    assert main(["pairs", "--params", params_of(tmp_path, own_split), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    saxpy = [("saxpy", direction) for direction in sorted(DIRECTIONS)]
    assert sorted((row["kernel"], row["direction"]) for row in rows) == [("gemm", "serial-cuda"), *saxpy]
    for row in rows:
        source, target = row["direction"].split("-")
        assert row["source_code"] == bundled[row["kernel"]].sources[source] and row["target_code"] == bundled[row["kernel"]].sources[target]
        assert row["family"] == f"cluster-{row['kernel']}" and row["suite"] == "minibench"
    assert main(["pairs", "--params", params_of(tmp_path, FILE), "--out", str(out)]) == 2
    assert "no kernel of the training side" in capsys.readouterr().err


def test_pairs_of_rollouts_are_distinct_validated_programs_of_training_tasks(tmp_path, own_split, bundled, capsys):
    def row(name, direction, code, right=True):
        task = {"capture_id": f"{name}{code}", "task": f"{name}.{direction}", "kernel": name, "family": "x", "direction": direction}
        return task | {"source_code": bundled[name].sources[direction.split("-")[0]], "code": code, "validated": right}

    codes = ("int a;", "int  a; // again", "int b;", "int c;", bundled["saxpy"].sources["omp"])
    saxpy = [row("saxpy", "serial-omp", code) for code in codes]
    rows = [*saxpy, row("saxpy", "omp-cuda", "int d;", False), row("bfs", "serial-omp", "int e;"), row("gemm", "serial-omp", "int f;")]
    rows.append(row("saxpy", "serial-cuda", "int g;") | {"source_code": "another"})
    write_rollouts(tmp_path / "rollouts", pd.DataFrame(rows), np.zeros((len(rows), 1, 4), np.float16), {})
    out, params = tmp_path / "pairs.jsonl", params_of(tmp_path, own_split)
    for most, codes in ((4, ["int a;", "int b;", "int c;"]), (2, ["int a;", "int b;"])):
        command = ["pairs", "--params", params, "--out", str(out), "--rollouts", str(tmp_path / "rollouts"), "--most", str(most)]
        assert main(command) == 0
        assert [json.loads(line)["target_code"] for line in out.read_text().splitlines()] == codes
    none = tmp_path / "none"
    write_rollouts(none, pd.DataFrame([row("saxpy", "serial-omp", "int a;", False)]), np.zeros((1, 1, 4), np.float16), {})
    assert main(["pairs", "--params", params, "--out", str(out), "--rollouts", str(none)]) == 2
    assert "no pair of a training task" in capsys.readouterr().err
