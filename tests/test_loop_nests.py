"""Composed grammars: every label against the places that the serial text really touches, iteration by iteration."""

import itertools
import random
import re
from pathlib import Path

from parallax_lib.core.settings import Params, Suite
from parallax_lib.study import collection
from parallax_lib.study.run import Run, all_tasks
from parallax_lib.tasks.synthetic import composed_patterns, generator, nest_patterns
from parallax_lib.tasks.synthetic.patterns import parse

BLOCKS, WIDE = list(nest_patterns.blocks()), list(composed_patterns.blocks())
SIZES = {"n": 6, "m": 8, "tile": 2, "lo": 1, "k": 2, "cut": 0.5, "few": 2, "frac": 0.5, "h": 2}
LARGER = SIZES | {"n": 12, "m": 14, "mul": 3, "off": 1}


def places(text: str, scope: dict) -> tuple[set, set]:
    """(written, read) places of one statement under these loop indices; a scalar declared outside the loops is a place."""
    target, _, value = re.fullmatch(r"(.*?) (\+?=) (.*);", text).groups()
    read = set(accesses(value, scope)) | ({place(target, scope)} if "+=" in text else set())
    return {place(target, scope)}, read


def place(target: str, scope: dict) -> tuple:
    name, _, index = target.partition("[")
    return (name, eval(index[:-1], {}, scope)) if index else (name, 0)


def accesses(text: str, scope: dict):
    """Every `array[index]` of an expression, brackets balanced."""
    for match in re.finditer(r"([a-z])\[", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        yield match[1], eval(text[match.end() : end - 1], {}, scope)


def walk(block: str, seed: int = 0) -> list[tuple[tuple, set, set]]:
    """(loop indices, written, read) of every turn of the loops of a pattern's serial text."""
    serial = block.split("--- serial\n")[1].split("\n--- ")[0]
    rng = random.Random(seed)
    scope = (LARGER if block.startswith("w_") else SIZES) | {"int": int}
    scope |= {"x": [rng.random() for _ in range(400)], "z": [1.0] * 400, "p": [rng.randrange(2) for _ in range(400)]}
    text = re.sub(r"\$(\w+)<([^<>]*)>", r"(\2)", serial).replace("; ", " ; ").replace(" / ", " // ")  # of whole numbers
    text = re.sub(r"\$(\w+)", r"\1", text)
    loops = [line.strip() for line in text.splitlines() if line.strip().startswith("for (") and not re.search(r"int [kq]\b", line)]
    body = [line.strip() for line in text.splitlines() if re.search(r"[\w\]] \+?= ", line) and "for (" not in line]
    private = {m[1] for line in body if (m := re.match(r"(?:double|int) (\w+) = ", line))}
    outside = "\n".join(text.splitlines()[: next(k for k, line in enumerate(text.splitlines()) if "for (" in line)])
    private -= set(re.findall(r"\b(\w+) = 0", outside))
    turns = []
    for indices in indices_of(loops, scope):
        here, written, read = scope | indices, set(), set()
        for line in body:
            if line.startswith("r[") or re.match(r"double (\w+ = 0(, )?)+;", line):
                continue  # before and after the loops
            line = re.sub(r"^(if \(.*?\) )?(else )?(double |int )?", "", line)
            if re.match(r"\w+ = \(int\)", line):
                here[line.split(" ")[0]] = int(eval(re.search(r"\(int\)\((.*)\);", line)[1], {}, here))
                continue
            now, before = places(line.replace(" ; ", " , "), here)
            written |= now
            read |= before
        keep = {p for p in written | read if p[0] not in private and p[0] not in ("x", "p")}
        turns.append((tuple(indices.values()), written & keep, read & keep))
    return turns


def indices_of(loops: list[str], scope: dict) -> list[dict]:
    if not loops:
        return [{}]
    name, start, stop, step = re.fullmatch(r"for \(int (\w) = (.*?) ; (.*?) ; \w(.*?)\) ?\{?", loops[0]).groups()
    by = {"++": "1", "--": "-1"}.get(step) or step.split(" += ")[1]
    value, found = eval(start, {}, scope), []
    while eval(stop.replace("&&", "and"), {}, scope | {name: value}):
        inside = {name: value}
        found += [inside | rest for rest in indices_of(loops[1:], scope | inside)]
        value += eval(by, {}, scope)
    return found


def conflict(turns: list, same, differ) -> bool:
    """Whether two turns with equal `same` and different `differ` indices touch one place and one of them writes it."""
    for (a, wrote, read), (b, wrote2, read2) in itertools.combinations(turns, 2):
        if same(a) == same(b) and differ(a) != differ(b) and wrote & (wrote2 | read2) | wrote2 & read:
            return True
    return False


def test_labels_follow_from_what_iterations_touch():
    for block in [*BLOCKS, *WIDE]:
        pattern, turns = parse(block, Path("block")), walk(block)
        assert len(turns) >= 3
        free = not conflict(turns, lambda a: 0, lambda a: a[0])
        for api in ("omp", "cuda"):
            assert pattern.options[api]["parallel"].right == free, (api, "parallel")
            if "collapse" in pattern.options[api]:
                assert pattern.options[api]["collapse"].right == (not conflict(turns, lambda a: 0, lambda a: a))
        inner = pattern.options["omp"].get("inner")
        if inner and "reduction" not in str(inner.pragmas):
            assert inner.right == (not conflict(turns, lambda a: a[0], lambda a: a[1]))


def test_every_nest_walks_what_it_says():
    for block in BLOCKS:
        nest = block.split()[0].rsplit("_", 1)[1]
        at = {indices for indices, _, _ in walk(block)}
        every = {"line": 5, "back": 6, "even": 3, "block": 6, "rows": 48, "columns": 48, "triangle": 21}
        assert len(at) == every[nest], block.split()[0]


def test_wide_programs_are_only_trained_on_and_none_of_their_bodies_is_a_held_out_one():
    """Nothing that is tested on may be trained on: not a family, nor a loop body under another family's name."""
    assert not set(composed_patterns.FAMILIES) & set(generator.ALL_FAMILIES)
    for split_seed in range(20):
        params = Suite(kinds=("forge",), forge_count=0, forge_wide=12, split_seed=split_seed)
        run = Run(Params(suite=params), Path("nowhere"), None, lambda *_: None)
        table = collection.task_table(all_tasks(run), run)
        assert len(table) == 12 * 4 and set(table["family"]) <= set(composed_patterns.FAMILIES) and set(table["split"]) == {"train"}
    bodies = {family: {body_of(b) for b in blocks} for family, blocks in (("wide", WIDE), ("held out", unseen()))}
    assert len(bodies["wide"]) > 100 and not bodies["wide"] & bodies["held out"]


def unseen() -> list[str]:
    return [b for b in BLOCKS if b.split()[0].rsplit("_", 1)[0] in nest_patterns.UNSEEN]


def body_of(block: str) -> str:
    """The serial text without names: arrays, locals and expressions by the order of their first occurrence."""
    text = block.split("--- serial\n")[1].split("\n--- ")[0]
    names: dict[str, str] = {}
    return re.sub(r"\$(\w+)", lambda m: names.setdefault(m[1], f"${len(names)}"), text)
