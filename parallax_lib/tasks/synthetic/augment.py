"""Dresses forge programs for training: other names, arithmetic in helper functions, calls in loops of main.

A pair is dressed as a whole, so a translation still copies its source's names; only what a source cannot tell stays as
it is (device arrays of a CUDA target are `d_` and the host's name).  Knows names and expressions; knows no strategy.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from parallax_lib.tasks.synthetic.codegen import RANDOM, REPORT, Helper, Spec, Stage
from parallax_lib.tasks.synthetic.patterns import patterns

NOUNS = ("acid band bin block body bond bulk cell chain charge child core cost crop curve dark data density depth drift edge "
         "error face feed flux fold frame gap grain grid group heat hit image item joint kernel label layer leaf level light line "
         "link load lump map mass mesh mix mode mole node noise norm orbit page pair part path peak phase pixel plane plant point "
         "pool power price probe pulse quota rain range ratio ray rest ring rock root row salt sample scan score seed shape share "
         "sheet shift signal site slope spin spot stage step stock strain stream stress sum tag term tide tile token tone trace "
         "tree trend unit value vein wave weight wheel wind zone").split()  # fmt: skip
VERBS = ("add apply blend bound build clip collect combine correct count damp decay divide draw fill filter find fit fold gather "
         "grow join lift mark merge mix move pack push rate reduce relax score settle shift smooth solve sort spread step sum "
         "sweep tally trim turn update walk weigh").split()  # fmt: skip
COUNTERS = ("i j k p q r s t u ii jj row col idx at pos here each lane slot which").split()
SIZES = ("n m len count size total rows cols nx ny np items many num points limit_n").split()
DEVICE = ("d_{}", "d_{}", "dev_{}", "{}_d", "{}_dev", "gpu_{}")
LEAVES = ("a", "b", "c", "d", "e", "g")


def dress(spec: Spec, rng: random.Random) -> Spec:
    """The spec with the arithmetic of some functions in helpers of their own and some calls repeated in main."""
    helpers: list[Helper] = []
    stages = [_with_helper(stage, rng, helpers) if rng.random() < 0.45 else stage for stage in spec.stages]
    stages = [_repeated(stage, rng, spec) if rng.random() < 0.3 else stage for stage in stages]
    return replace(spec, stages=tuple(stages), helpers=tuple(helpers))


def rename(texts: tuple[str, str], spec: Spec, rng: random.Random, cuda_source: bool) -> tuple[str, str]:
    """(source, target) with other names in both.  A CUDA source may mark its device arrays in another way."""
    taken = set(re.findall(r"[A-Za-z_]\w*", " ".join(texts)))
    new = {old: _fresh(rng, kind, taken) for old, kind in _names(spec).items() if rng.random() < 0.85}
    form = rng.choice(DEVICE) if cuda_source else "d_{}"
    arrays = {a.name for a in spec.arrays()}
    return _renamed(texts[0], new, arrays, form), _renamed(texts[1], new, arrays, "d_{}")


def _with_helper(stage: Stage, rng: random.Random, helpers: list[Helper]) -> Stage:
    """The stage with its first expression as a call, and the function appended to `helpers`."""
    rows = patterns()[stage.pattern].header.get("expr", ())
    if not rows:
        return stage
    key = rows[0].split()[0]
    text = stage.holes[key]
    used = sorted(set(re.findall(r"\{(\d)\}", text)))
    constants = sorted(set(re.findall(r"\$(\w+)", text)))
    names = dict(zip((*used, *constants), LEAVES, strict=False))
    func = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    if not used or len(names) < len(used) + len(constants) or func in {h.name for h in helpers} | {stage.func}:
        return stage
    body = re.sub(r"\{(\d)\}|\$(\w+)", lambda m: names[m[1] or m[2]], text)
    call = f"{func}({', '.join([*('{' + k + '}' for k in used), *('$' + k for k in constants)])})"
    helpers.append(Helper(func, f"double {func}({', '.join(f'double {name}' for name in names.values())}) {{ return {body}; }}"))
    return replace(stage, holes=stage.holes | {key: call})


def _repeated(stage: Stage, rng: random.Random, spec: Spec) -> Stage:
    """The stage called a few times in a loop of main, its constants growing with the count; only where no array is both
    read and written, unless it is one sum that every call adds to: a repeated update could grow without bound."""
    pairs = zip(stage.arrays, stage.specs(), strict=True)
    free = [name for name in ("t", "step", "turn", "trial") if name not in {a.name for a in spec.arrays()}]
    if any(array_spec.use == "io" and array.size != "1" for array, array_spec in pairs):
        return stage
    counter, grows = rng.choice(free), rng.choice(("0.25", "0.1", "0.5"))
    params = tuple((d, f"{a} + {grows} * {counter}" if d.startswith("double ") and "*" not in d else a) for d, a in stage.params)
    loop = f"for (int {counter} = 0; {counter} < {rng.randrange(2, 6)}; {counter}++)"
    return stage if _sets_total(stage) else replace(stage, params=params, loop=loop)


def _sets_total(stage: Stage) -> bool:
    """Whether the serial function writes its sum anew: the CUDA kernels add to what is there, so a second call doubles it."""
    keys = [spec.key for array, spec in zip(stage.arrays, stage.specs(), strict=True) if spec.use == "io" and array.size == "1"]
    return any(re.search(rf"^ *\${key}\[0\] = (?!\${key}\[0\])", patterns()[stage.pattern].serial, re.M) for key in keys)


def _names(spec: Spec) -> dict[str, str]:
    """Every name that may change, with its kind: function, array, constant, local, counter or size."""
    names = {"n": "size", "m": "size", "len": "size", "i": "counter", "j": "counter"}
    for stage in spec.stages:
        header = patterns()[stage.pattern].header
        names |= {stage.holes[row.split()[0]]: "local" for row in header.get("local", ())}
        declared = [row.split()[-1].lstrip("*") for row, _ in stage.params]
        names |= {name: "constant" for name in declared if name not in names}
    names |= {a.name: "array" for a in spec.arrays()}
    return names | {f: "function" for f in [*(s.func for s in spec.stages), *(h.name for h in spec.helpers)]}


def _fresh(rng: random.Random, kind: str, taken: set[str]) -> str:
    """An unused name in the manner of its kind."""
    for attempt in range(100):
        noun, other, verb = rng.choice(NOUNS), rng.choice(NOUNS), rng.choice(VERBS)
        function = (f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}{noun.title()}", f"{noun}_{other}_{verb}", f"{verb}{attempt}")
        value = (noun, f"{noun}_{other}", f"{noun}{other.title()}", f"{noun[:3]}{rng.randrange(10)}", noun[0] + other[:2])
        name = rng.choice({"counter": COUNTERS, "size": SIZES, "function": function}.get(kind, value))
        if name not in taken:
            break
    else:
        name = f"{kind}{len(taken)}"
    taken.add(name)
    return name


def _renamed(text: str, new: dict[str, str], arrays: set[str], form: str) -> str:
    """The text with every name exchanged, in strings as well; what scaffolding all programs share stays."""
    start = max((text.find(part) + len(part) for part in (RANDOM, REPORT) if part in text), default=0)
    device = {f"d_{name}": form.format(new.get(name, name)) for name in arrays}
    table = new | device
    word = re.compile(r"(?<![\w.%\\])(" + "|".join(sorted(map(re.escape, table), key=len, reverse=True)) + r")(?!\w)")
    return text[:start] + word.sub(lambda m: table[m[1]], text[start:])
