"""What other projects call the fields of a row: obvious names are detected, the rest is said by a small YAML file.

Knows names and values of fields.  Knows no file of rows, no tensor and no verdict.

    kernel: benchmark_name          # ours: theirs
    code: [output, translation]     # the first that a row has
    ignore: [prompt_tokens]         # not to be listed as unused
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError, nearest, short
from parallax_lib.core.settings import direction_name
from parallax_lib.core.yaml_files import read_yaml

OBVIOUS = {  # ours -> theirs, likeliest first; compared without case, underscores and hyphens
    "capture_id": ("capture_id", "id", "sample_id", "example_id", "row_id", "uid"),
    "kernel": ("kernel", "kernel_name", "benchmark", "benchmark_name", "program", "problem", "app", "name"),
    "family": ("family", "kernel_family", "cluster", "category"),
    "task": ("task", "task_id"),
    "direction": ("direction", "translation_direction", "translation", "pair", "api_pair"),
    "source_api": ("source_api", "source", "from_api", "src_api", "source_lang", "source_language", "src_lang", "from"),
    "target_api": ("target_api", "target", "to_api", "tgt_api", "target_lang", "target_language", "tgt_lang", "to"),
    "source_code": ("source_code", "input_code", "src_code", "source_text", "original_code", "input"),
    "code": ("code", "generated_code", "translated_code", "translation_code", "candidate", "candidate_code", "program_text",
             "prediction", "generated", "generation", "completion", "response", "answer", "output"),
    "reward": ("reward", "final_reward", "label", "score", "value", "y"),
    "level": ("level", "ladder_level"),
    "reason": ("reason", "first_failure"),
    "latents": ("latents", "latent_path", "vector", "vector_path", "vector_file", "vectors", "tensor", "tensor_path", "hidden_path",
                "path"),
    "branch_depth": ("branch_depth", "latent_index", "vector_index", "step_index", "depth", "v", "i"),
    "resample": ("resample", "resample_id", "resample_index", "sample", "r", "j"),
    "root": ("root", "parent", "parent_id", "original_id"),
    "continuations": ("continuations", "branches", "children", "resamples", "rollouts", "samples"),
    "split": ("split",),
    "arm": ("arm", "method", "mode", "selection"),
    "seed": ("seed",),
    "args": ("args", "run_args", "arguments", "argv"),
    "hidden_args": ("hidden_args", "hidden", "test_args"),
    "target_code": ("target_code", "reference_code", "target_text", "reference", "gold"),
    "flags": ("flags", "build_flags", "compile_flags"),
    "compiled": ("compiled", "compile_ok", "compile_success", "compiles", "build_ok"),
    "ran": ("ran", "run_ok", "run_success", "runs", "executed"),
    "validated": ("validated", "valid", "passed", "validators_ok", "correct", "success"),
}  # fmt: skip

RUN = ("args", "hidden_args", "target_code", "flags")  # how a program is run and compared
OF_PROGRAM = ("capture_id", "kernel", "family", "task", "direction", "source_api", "target_api", "source_code", "code", "arm", "seed", *RUN)
OF_ROLLOUT = tuple(name for name in OBVIOUS if name not in ("arm", "seed", *RUN))


@dataclass(frozen=True)
class FieldMap:
    """names: ours -> theirs, the first that a row has.  ignored: theirs that nobody needs to be told of."""

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def found(self, row: Mapping[str, Any], wanted: Collection[str] = tuple(OBVIOUS)) -> dict[str, str]:
        """{ours: theirs} of one row, for the `wanted` of ours: said names first, then obvious ones; a field of theirs serves once."""
        plain = {_plain(name): name for name in reversed(list(row))}
        taken = {theirs for names in self.names.values() for theirs in names if theirs in row}
        fields = {ours: next(t for t in names if t in row) for ours, names in self.names.items() if any(t in row for t in names)}
        for ours, names in ((ours, OBVIOUS[ours]) for ours in wanted):
            free = [plain[_plain(n)] for n in names if _plain(n) in plain and plain[_plain(n)] not in taken]
            if ours not in self.names and free:
                fields[ours] = free[0]
                taken.add(free[0])
        return fields

    def read(self, row: Mapping[str, Any], wanted: Collection[str] = tuple(OBVIOUS)) -> dict[str, Any]:
        """The row under our names, what is none of ours under theirs; `direction` is source-target, from two fields if need be."""
        found = self.found(row, wanted)
        out = {name: value for name, value in row.items() if name not in found.values()}
        out |= {ours: row[theirs] for ours, theirs in found.items()}
        pair = out.pop("source_api", None), out.pop("target_api", None)
        if not isinstance(out.get("direction"), str) and all(isinstance(api, str) for api in pair):
            out["direction"] = f"{pair[0]}-{pair[1]}"
        if isinstance(out.get("direction"), str):
            out["direction"] = direction_name(out["direction"])
        return out


def read_map(path: str) -> FieldMap:
    """The map of a YAML file, or the empty one for "".  UserError names a key that is none of ours."""
    if not path:
        return FieldMap()
    file = resolve(path)
    values, lines = read_yaml(Path(file))
    ignored = values.pop("ignore", [])
    for ours, theirs in [*values.items(), ("ignore", ignored)]:
        if ours not in OBVIOUS and ours != "ignore":
            where = f"{file.name}: line {lines[(ours,)]}"
            raise UserError(f"{where}: {ours!r} is no field here{nearest(ours, OBVIOUS)}; write 'our name: their name'")
        if not isinstance(theirs, (str, list)) or not all(isinstance(t, str) for t in theirs):
            raise UserError(f"{file.name}: {ours}: expected a field's name or a list of them, got {short(theirs)}")
    return FieldMap({ours: (theirs,) if isinstance(theirs, str) else tuple(theirs) for ours, theirs in values.items()}, tuple(ignored))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
