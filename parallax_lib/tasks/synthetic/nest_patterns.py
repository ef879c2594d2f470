"""Kernel grammars by composition: every update with the loop nests that it goes with.

Knows the updates, and which families a translator is trained on.  Knows nothing of how a pattern's text is written (`loop_nests`).
"""

from __future__ import annotations

from collections.abc import Iterator

from parallax_lib.tasks.synthetic.loop_nests import LINES, PLANES, Update, block

X = "array: x double SIZE any in"
UPDATES = (
    Update("n_assign", "free", "shape_all | lift_values | tone_down | convert | bend",
           (X, "array: y double SIZE zero OUT", "const: c real", "expr: e general 1"),
           ("$y[AT] = $e<$x[AT]>;",), (*LINES[1:], *PLANES[1:])),
    Update("n_branch", "free", "clip_values | two_sided | threshold | split_response | floor_values",
           (X, "array: y double SIZE zero OUT", "const: c real", "expr: e general 1", "expr: g general 1"),
           ("if ($x[AT] > $cut) $y[AT] = $e<$x[AT]>;", "else $y[AT] = $g<$x[AT]>;"), (*LINES, *PLANES)),
    Update("n_inplace", "free", "relax_all | cool | grow_field | refresh | age",
           (X, "array: y double SIZE unit io", "const: c real", "expr: e positive 2"),
           ("$y[AT] = 0.125 + $e<$y[AT]; $x[AT]>;",), (*LINES, *PLANES)),
    Update("n_local", "free", "two_step | predict | response_of | corrected | filter_values",
           (X, "array: z double SIZE any in", "array: y double SIZE zero OUT", "const: c real", "expr: e general 2", "expr: g general 2",
            "local: t mid | v | first"),
           ("double $t = $e<$x[AT]; $z[AT]>;", "if ($t < $frac) $t = $t + $h;", "$y[AT] = $g<$t; $x[AT]>;"), (*LINES, *PLANES)),
    Update("n_pair", "free", "split_field | both_parts | decompose | twin_update | project",
           (X, "array: y double SIZE zero OUT", "array: z double SIZE zero OUT", "const: c real", "expr: e general 1", "expr: g general 2"),
           ("$y[AT] = $e<$x[AT]>;", "$z[AT] = $g<$y[AT]; $x[AT]>;"), (*LINES, *PLANES)),
    Update("n_iterate", "free", "settle | iterate_map | converge | fixed_point | repeat_map",
           (X, "array: y double SIZE zero OUT", "const: c frac", "expr: e lean 2", "local: t v | state_of | now"),
           ("double $t = $x[AT];", "for (int k = 0; k < $few; k++) $t = $e<$t; $x[AT]>;", "$y[AT] = $t;"), (*LINES, *PLANES)),
    Update("n_mirror", "free", "flip | reverse_copy | mirror_values | turn_around | reflect",
           (X, "array: y double SIZE zero OUT", "const: c real", "expr: e general 1"),
           ("$y[LAST - (AT)] = $e<$x[AT]>;",), (*LINES, *PLANES[:2])),
    Update("n_total", "total", "sum_all | weight_of | total_of | accumulate | add_everything",
           (X, "array: r double 1 zero io", "const: c real", "expr: e heavy 1", "local: t sum | acc | s"),
           ("TOTAL $t += $e<$x[AT]>;",), (*LINES[1:], *PLANES), "+:$t"),
    Update("n_total_if", "total", "sum_selected | mass_above | active_load | masked_sum | heavy_part",
           (X, "array: r double 1 zero io", "const: c real", "expr: e heavy 1", "local: t sum | acc | s"),
           ("if ($x[AT] > $cut) TOTAL $t += $e<$x[AT]>;",), (*LINES, *PLANES), "+:$t"),
    Update("n_two_totals", "total", "first_moments | mean_and_power | two_sums | spread_of | balance",
           (X, "array: r double 2 zero io", "const: c real", "expr: e heavy 1", "expr: g positive 1", "local: t sum | acc | s",
            "local: q sq | power | w"),
           ("TOTAL $t += $e<$x[AT]>;", "TOTAL $q += $g<$x[AT]>;"), (*LINES, *PLANES), "+:$t, $q"),
    Update("n_map_total", "total", "apply_and_sum | charge_of | respond_total | fill_and_count | flux_total",
           (X, "array: y double SIZE zero OUT", "array: r double 1 zero io", "const: c real", "expr: e heavy 1", "local: t sum | acc | s"),
           ("$y[AT] = $e<$x[AT]>;", "TOTAL $t += $y[AT];"), (*LINES, *PLANES), "+:$t"),
    Update("n_difference", "total", "misfit | distance_between | error_of | mismatch | residual",
           (X, "array: z double SIZE any in", "array: r double 1 zero io", "const: c real", "expr: e heavy 2", "local: t sum | acc | s"),
           ("double d = $x[AT] - $z[AT];", "TOTAL $t += d * d + $e<$x[AT]; $z[AT]>;"), (*LINES, *PLANES), "+:$t"),
    Update("n_cyclic", "shared", "fold | wrap_sum | by_phase | comb | residue_sum",
           (X, "array: y double $k zero io", "const: k int 6 14", "const: c real", "expr: e heavy 1"),
           ("ADD $y[(AT) % $k]; $e<$x[AT]>",), (LINES[0], LINES[1], *PLANES[:2]), "+:$y[:$k]"),
    Update("n_deposit", "shared", "deposit_all | drop_mass | add_by_key | group_sum | collect_by",
           (X, "array: p int SIZE int:$lit_k in", "array: y double $k zero io", "const: k int 12 40", "const: c real", "expr: e heavy 1"),
           ("ADD $y[$p[AT]]; $e<$x[AT]>",), (*LINES[1:], *PLANES), "+:$y[:$k]"),
    Update("n_levels", "shared", "level_sums | by_height | bin_weights | spectrum | classify_sum",
           ("array: x double SIZE raw in", "array: y double $k zero io", "const: k int 8 30", "const: c real", "expr: e heavy 1",
            "local: t bin | cell | slot"),
           ("int $t = (int)($x[AT] * $k);", "ADD $y[$t]; $e<$x[AT]>"), (*LINES, *PLANES), "+:$y[:$k]"),
    Update("n_exchange", "shared", "exchange | transfer_all | move_mass | trade | swap_flux",
           (X, "array: p int SIZE int:$lit_k in", "array: y double $k zero io", "const: k int 12 40", "const: c real", "expr: e heavy 1",
            "local: t flow | moved | v"),
           ("double $t = $e<$x[AT]>;", "ADD $y[$p[AT]]; $t", "ADD $y[($p[AT] + 1) % $k]; -0.5 * $t"), (*LINES, *PLANES), "+:$y[:$k]"),
    Update("n_row_fold", "shared", "row_sums | per_row | sum_rows | load_of_rows",
           (X, "array: y double n zero io", "const: c real", "expr: e heavy 1"), ("ADD $y[i]; $e<$x[AT]>",), PLANES, "+:$y[:n]"),
    Update("n_column_fold", "shared", "column_sums | per_column | sum_columns | drain_down",
           (X, "array: y double m zero io", "const: c real", "expr: e heavy 1"), ("ADD $y[j]; $e<$x[AT]>",), PLANES[:2], "+:$y[:m]"),
)  # fmt: skip
TRAIN = ("n_assign", "n_branch", "n_inplace", "n_total", "n_total_if", "n_cyclic", "n_deposit", "n_row_fold")
UNSEEN = tuple(u.family for u in UPDATES if u.family not in TRAIN)


def blocks() -> Iterator[str]:
    """The text of every composed pattern, without the leading `=== `."""
    for update in UPDATES:
        for nest in update.nests:
            yield block(update, nest, update.family)
