"""Every character that a program prints is read: lines that may or may not be called equal, tolerances, mutants of outputs."""

import json
import math
import random
import re
from dataclasses import asdict

import pytest

from parallax_lib.verdict import output_comparison, printed_text, printed_times
from parallax_lib.verdict.assurance import printing_mutants

READERS = (output_comparison.read, output_comparison.read_lines)
CASES = [  # reference, candidate, may they be called equal?
    ("The sum is 3.14.", "The sum is 9.99.", "no"),
    ("z = 1.5+2.5i", "z = 1.5+9.5i", "no"),
    ("x 2.5f", "x 7.5f", "no"),
    ("sum 0x1.8p+1", "sum 0x1.8p-1", "no"),
    ("e 1.5D+03", "e 8.5D+03", "no"),
    ("hash 098f6bcd", "hash 771f6bcd", "no"),
    ("grid 3x4", "grid 7x4", "no"),
    ("range 0..5", "range 0..9", "no"),
    ("n 1_000", "n 9_000", "no"),
    ("v \u22125.5", "v 5.5", "no"),
    ("total 12.5J", "total 99.5J", "no"),
    ("time 0.5 energy 1.250000", "time 0.5 energy 9.990000", "no"),
    ("Time step 10: max 1.25", "Time step 10: max 9.99", "no"),
    ("gives us 12", "gives us 99", "no"),
    ("speed 1.3456e+02 6.665e+03 0.0112", "speed 1.4456e+02 6.665e+03 0.0112", "no"),
    ("3 of 10 failed to converge, residual 0.25", "3 of 10 failed to converge, residual 0.99", "no"),
    ("1,234,567", "1234567", "yes"),
    ("Kernel time: 0.125 s", "Kernel time: 0.250 s", "yes"),
    ("Average execution time of kernel 12.5 (us)", "Average kernel execution time 99.1 (us)", "yes"),
    ("done 10%\rdone 100%\rsum 4.5", "sum 4.5", "yes"),
    ("\x1b[32msum 4.5\x1b[0m", "sum 4.5", "yes"),
]
EQUAL = """
1,234,567.25|1234567.25
12'345|12345
1_000|1000
Elapsed: 0.123456 s|elapsed time 3 s
Time taken: 523 ms|Kernel took 0.5 seconds
Throughput: 12.5 GB/s|bandwidth = 13.25 GB/s
Performance: 123.4 GFLOPS|125 GFLOP/s
Speedup: 3.5x|Speedup: 2.1x
time (ms): 12.5|time (ms): 99.25
time_ms = 12.5|time_ms = 7
Date: Mon Jan  5 12:34:56 2026|Date: Tue Jan  6 01:02:03 2026
Started 2026-01-05 12:34:56|Started 2026-02-05 11:34:56
Device 0: NVIDIA H200|Device 0: Tesla V100-SXM2-16GB
Running on cuda-cpu emulation\\nsum 2.5|sum 2.5
ptr 0x7ffd12345678 sum 2.5|ptr 0x7ffe87654321 sum 2.5
x  =  5|x = 5
sum: 2.5|sum = 2.5
sum 2.5 in 3.5 ms|sum 2.5 in 9 ms
Processed 1000 items in 0.5 s|Processed 1000 items in 0.7 s
Average time over 100 iterations: 1.5 us|Average time over 100 iterations: 2.5 us
10%\\r20%\\r100%\\rsum 4.5|sum 4.5
\\e[1;31m4.5\\e[0m|4.5
nan 5.5|-nan 5.5
inf 5.5|INF 5.5
v -5.5|v \u22125.5
1.5E+03|1500.0
1.5D+03|1.5e3
0.1500+104|1.5e103
total 1.|total 1
.5|0.5
real 0m1.234s|real 0m3.5s
kernel: 5 ms|kernel: 7 ms
Host time 1.25|Device time 3.75
====|-----
sum 4.5|Using 8 threads\\nsum 4.5
sum 4.5|sum 4.5\\nDone
sum 4.5|Matrix size: 64 x 64\\nsum 4.5
sum 4.5\\ntime 3.5 ms|sum 4.5
sum 4.5|sum 4.5\\nPASS
0.840187770.65432112|0.840187770.65432113
"""
DIFFERENT = """
sum 5|sum 6
sum 5|total 5
status converged|status diverged
Result: true|Result: false
Test PASSED|Test FAILED
(1.5,2.5)|(1.5,9.5)
1.5-2.5i|1.5+2.5i
0xdeadbeef|0xdeadbeee
0.1234-102|0.1234-103
1.0E+100|1.0E+101
e 1.5e-20|e 8.5e-20
e 1.5e-13|e 8.5e-13
1e309 2|2e309 2
1e-400|2e-400
5abc|6abc
x1.25|x9.25
v2|v3
file7.txt|file8.txt
123.456.789|123.457.789
1.2.3|1.2.4
192.168.0.1|192.168.0.2
640x480|641x480
1920\u00d71080|1920\u00d71081
5%|6%
5%|5
-5|5
- 5|5
a<b|a>b
*****|****
..#..|.##..
12345678901234567890|12345678901234567891
9007199254740993|9007199254740992
0011|011
d41d8cd98f00b204e9800998ecf8427e|d41d8cd98f00b204e9800998ecf8427f
12345678e2|12345679e2
aGVsbG8|agVsbG8
x=5, s=7|x=9, s=7
thread(s): 4 v 2.5|thread(s): 5 v 2.5
velocity 12.5 m/s|velocity 99.5 m/s
Time step 10|Time step 11
Simulated time 2.5|Simulated time 9.5
t = 0.5|t = 0.9
time 0.5 energy 1.25|time 0.5 energy 1.35
Converged in 12 iterations, 3.5 ms|Converged in 13 iterations, 3.5 ms
Converged after 3.5 ms|Diverged after 3.5 ms
seconds 12|seconds 13
0 errors|5 errors
5 of 10 passed|6 of 10 passed
NaN 1.5|2.5 1.5
inf 1.5|-inf 1.5
inf 1.5|nan 1.5
1,2,3|1,2,4
1,200|1.200
a 1\\nb 2|b 2\\na 1
a 1\\nb 2|a 1
a 1|a 1\\na 1
a 1|a 1\\n2.5
a 1|a 1\\nmore 1
a 1|a 1\\nthreads differ: FAIL
a 1|a 1\\nb 2.5
5 s 7|6 s 7
ratio 3:4|ratio 3:5
5 MB|6 MB
1.5d0|1.6d0
5.|6.
count 12345678.|count 12345679.
\u00b3|\u00b2
\u0967|\u0968
12 US|13 US
12 m|13 m
max error 0.25|max error 0.75
accuracy 45%\\rdone|accuracy 46%\\rdone
sum 5\ttime 3 ms|sum 6\ttime 3 ms
learning rate 0.5|learning rate 0.6
a\\0b|a\\0c
\\\\xff|\\\\xfe
0.840187770.65432112|0.841187770.65432112
"""


def lines_of(block):
    for row in block.strip().split("\n"):
        pair = row.replace("\\n", "\n").replace("\\r", "\r").replace("\\e", "\x1b").replace("\\0", "\0")
        yield tuple(pair.split("|"))


def learned(*texts, other=(), read=output_comparison.read):
    return output_comparison.learn([read(t) for t in texts], [read(t) for t in other])


def agree(case, text, read=output_comparison.read):
    return output_comparison.differs(case, [read(text)])[0] == ""


def test_pairs_of_lines():
    rows = CASES + [(*pair, "yes") for pair in lines_of(EQUAL)] + [(*pair, "no") for pair in lines_of(DIFFERENT)]
    for reference, candidate, equal in rows:
        for read in READERS:
            case = learned(f"anchor 1.5\n{reference}", read=read)
            assert agree(case, f"anchor 1.5\n{reference}", read), reference
            assert agree(case, f"anchor 1.5\n{candidate}", read) == (equal == "yes"), (reference, candidate, equal, read.__name__)


def test_every_character_is_a_token_or_the_line_is_refused():
    for text in ("a\x01b", "\u200b5", "\ufffd1", "x\u00e91", "#5", "~!@$%^&*_+?<>/\\", "\x7f", "5\u00b2"):
        for character in text:
            line = printed_text.read_lines(f"w {text} w")[0]
            assert any(character in str(t) for t in line.tokens), (text, character)
    for text in ("5\b6", "\x1b[2J5", "\x1b[1A5"):
        assert output_comparison.read(text)[0].unread and "cannot be read" in learned(f"v 1.5\n{text}")
        assert output_comparison.differs(learned("v 1.5"), [output_comparison.read(f"v 1.5\n{text}")])[0] == "wrong_output"


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("x 1 -2.5e-3 +4.", [1, -2.5e-3, 4.0]),
        ("a[3]=.5, v2=7; 1.2.3 0x10 5abc", [3, 0.5, 7, 16, 5]),
        ("sum: -inf", [-math.inf]),
        ("Time: 3 s\n4 GB/s\nelapsed 6.5\n7 ms", []),
        ("0 of 10 tests passed\nv 1", [0, 10, 1]),
        ("only words", []),
    ],
)
def test_numbers_are_read(text, numbers):
    assert [v for line in output_comparison.read(text) if not line.aside for v in line.values] == numbers


def plainly(text):
    """As `read_lines`, one line after another: nothing is remembered, looked for first or cut into stretches."""
    found = []
    for line in printed_text.shown_lines(text):
        line = printed_text.ESCAPE.sub("", line).translate(printed_text.MINUS)
        if "\x1b" in line or "\b" in line:
            found.append(printed_text.Line((), unread="it moves the cursor"))
        elif not re.search(r"\w", line):
            found.append(printed_text.Line((line.rstrip(),), printed_text.RULER.fullmatch(line) is not None))
        else:
            line = printed_times.mask_dates(line)
            pieces, only = printed_text._pieces(line), False
            if len(pieces) <= printed_text.MOST_PIECES and printed_times.may_tell(line):
                pieces = printed_times.mask_fields(pieces)
                only = printed_times.tells_only(pieces)
            tokens = tuple(token for piece in pieces for token in printed_text._tokens(*piece))
            aside = only or printed_times.names_device(line, pieces) or printed_times.tells_memory(line, pieces)
            found.append(printed_text.Line(tokens or (line.strip(),), aside))
    return tuple(found)


ALPHABETS = (
    "ab1 .,-+e:x\r%'", "0123456789.,-+'eEdDx ", "01,.'-+()[]  ", "naif1.-+", "12.5 ms s us () : = / GB#\u0131nf",
    "\xa0\u202f1234,.\u2019 -", "-+)]}1,'.e",
)  # fmt: skip
PRINTED = (
    "time kernel took elapsed over total Max min avg speedup iterations step Jan 12:34:56 2024-01-15 5 100 0 1.5 x1.5 2.5x 1,234 12'345 "
    "3x4 0x1f 0x7f00aabbccdd 1.5e+3 1.5D+03 0.1234-102 nan inf -inf ms s sec us 5s 5ms (ms) [us] per / GB GFLOP/s GB/s memory used peak "
    "device gpu NVIDIA A100 PASS failed : = - + % # { } ' , ; ti\x1b[0mme \x1b[1m \b \ue000 \u2212 \u03bcs \u00e9a"
).split(" ")


def test_reading_fast_is_reading_plainly():
    draw = random.Random(7)
    texts = [text for row in CASES for text in row[:2]] + [text.replace("|", "\n") for text in (EQUAL, DIFFERENT)]
    for _ in range(500):
        letters, gap = draw.choice(ALPHABETS), draw.choice(("", " ", "\n"))
        texts.append("".join(draw.choices(letters, k=draw.randint(1, 60))))
        texts.append(gap.join(draw.choices(PRINTED, k=draw.randint(1, 25))))
        texts.append("".join(word + draw.choice(letters) for word in draw.choices(PRINTED, k=12)))
    texts += ["".join(draw.choices(letters, k=9000)) for letters in ALPHABETS]  # more pieces than times are looked for in
    for text in texts:
        assert repr(printed_text.read_lines(text)) == repr(plainly(text)), text  # NaN is NaN


@pytest.mark.parametrize("text, tokens", [("took 5 s #", ("took", printed_times.TIME, "#")), ("\u0131nf 2", ("\u0131nf", 2))])
def test_what_only_looks_like_a_number_ends_no_reading(text, tokens):
    """A number sign is no number, and a dotless i no i."""
    assert printed_text.read_lines(text)[0].tokens == tokens


def test_times_are_found_between_runs_of_the_reference():
    case = learned("time 0.5123 energy 1.25", "time 0.5124 energy 1.25")
    assert agree(case, "time 0.9 energy 1.25") and not agree(case, "time 0.5123 energy 1.26")
    host = learned("host abc17 sum 2.5", "host xyz99 sum 2.5")
    assert agree(host, "host other sum 2.5") and not agree(host, "host other sum 2.6") and not agree(host, "sum 2.5")


def test_nan_is_expected_where_all_runs_of_all_programs_print_it():
    case = learned("v nan 2.5", "v nan 2.5", other=("v -nan 2.5",))
    case = output_comparison.restored(json.loads(json.dumps(asdict(case))))
    assert agree(case, "v nan 2.5") and not agree(case, "v 1.0 2.5") and not agree(case, "v nan nan")
    assert "disagree" in learned("v nan 2.5", other=("v 1.0 2.5",))
    assert agree(learned("v nan 2.5", "v 1.0 2.5"), "v 3.0 2.5")  # it moves by itself
    assert "NaN" in learned("v nan", "v nan") and "NaN" in learned("n 5 v nan")
    assert agree(learned("n 5 far inf"), "n 5 far inf") and not agree(learned("n 5 far inf"), "n 5 far -inf")


def test_implementations_may_tell_other_things_about_the_machine():
    case = learned("sum 2.5", other=("Using 4 OpenMP threads\nsum 2.5",))
    assert agree(case, "sum 2.5") and not agree(case, "sum 2.6")
    assert "different lines" in learned("sum 2.5", other=("count 4\nsum 2.5",))


def test_what_prints_only_times_checks_nothing():
    assert isinstance(learned("Kernel time: 0.5 s\n12 GB/s"), str) and isinstance(learned(""), str)


def unbounded_repeats(pattern):
    """Repeats without a bound in the parse tree of `pattern` that may give back what they took."""
    parser = re._parser

    def walk(node):
        for op, argument in node:
            if op in (parser.MAX_REPEAT, parser.MIN_REPEAT) and argument[1] is parser.MAXREPEAT:
                yield str(argument)
            for part in argument if isinstance(argument, (tuple, list)) else ():
                for inner in part if isinstance(part, list) else [part]:
                    if isinstance(inner, parser.SubPattern):
                        yield from walk(inner)

    return list(walk(parser.parse(pattern.pattern, pattern.flags)))


def test_no_repeat_of_a_pattern_gives_back_what_it_took():
    assert unbounded_repeats(re.compile(r"(?:a|b+)c"))
    for module in (printed_text, printed_times, output_comparison):
        for name, pattern in vars(module).items():
            if isinstance(pattern, re.Pattern):
                assert not unbounded_repeats(pattern), name


def test_characters_looked_at_grow_as_the_text():
    """What each form takes from each token's start, and the run that its lookahead sees, summed over the tokens."""
    forms = [re.compile(re.sub(r"\(\?P=by\)", "[,']", body), re.S) for kind, (body, _) in printed_text.FORMS.items() if kind != "mark"]
    run = re.compile(r"[^\W\d_]++|[0-9]++")
    units = ("7", "1 ", "1,", ",234", "'234", "a1", "1a", ".", "-", "-1", "1.1.", "0x", "0x1", "1e", "3x", "1_", "1.5+100", "a1.5", "\x1b[")
    for unit in units:
        for end in ("", "g", ",5", "'5", "."):
            text = "1" + unit * (4000 // len(unit)) + end
            seen = 0
            for start in (m.start() for m in printed_text.TOKEN.finditer(text)):
                ends = [m.end() for form in forms if (m := form.match(text, start))]
                seen += sum(e - start + len(m[0] if (m := run.match(text, e)) else "") for e in ends) + len(forms)
            assert seen < 25 * len(text), (unit, end, seen / len(text))


def test_reading_stops_at_a_wall_limit(monkeypatch):
    monkeypatch.setattr(printed_text, "READ_SECONDS", -1.0)
    slow = output_comparison.read("v 1.5\n" * 600)
    assert slow[-1].unread == printed_text.TOO_SLOW and len(slow) < 600
    assert output_comparison.differs(learned("v 1.5"), [slow])[0] == "infra_error"


def test_mutants_of_the_printing_are_rejected():
    text = "bfs 1.234567890e+03 -2.5e-01 0.000000000e+00\ncount 17 of 20\nat 3: 0.5 0.25\n"
    case = learned(text, text)
    made = printing_mutants.mutants(text, 100)
    assert {name for name, _, _ in made} == set(printing_mutants.OPERATORS) and len(made) > 40
    for name, says, changed in made:
        assert changed != text and not agree(case, changed), (name, says, changed)






def test_tolerance_is_learned_and_bounded():
    def ok(expected, text):
        return output_comparison.comparable(expected, output_comparison.read(text)) and not output_comparison.difference(
            expected, output_comparison.read(text)
        )

    still = learned("v 100.0", "v 100.0")
    assert ok(still, "v 100.00009") and not ok(still, "v 100.0002") and not ok(still, "v nan")
    moving = learned("v 100.0", "v 100.001")
    assert ok(moving, "v 100.009") and not ok(moving, "v 100.02")
    whole = learned("count 10000001", "count 10000001")
    assert ok(whole, "count 10000001") and not ok(whole, "count 10000002")
    wider = learned("v 100.0", "v 100.0", other=("v 100.002",))
    assert ok(wider, "v 100.01") and not ok(wider, "v 100.03")
    assert "changes" in learned("v 1.0", "v 2.0")
    assert "disagree" in learned("v 1.0", "v 1.0", other=("v 2.0",))
    partly = learned("v 1.0 5.0", "v 2.0 5.0")
    assert ok(partly, "v 9.0 5.0") and not ok(partly, "v 1.0 6.0")
    assert ok(learned("zero 0.0", "zero 0.0"), "zero 1e-15")
    rounding = learned("residual 0.0", "residual 1e-17", other=("residual 1e-17",))
    assert ok(rounding, "residual 2e-17") and not ok(rounding, "residual 5000.0")


def test_six_digits_of_a_number_are_enough_and_no_other_six_are():
    rng = random.Random(0)
    for _ in range(2000):
        value = rng.choice((1, -1)) * rng.uniform(1, 10) * 10.0 ** rng.randint(-8, 12)
        case = learned(f"v {value:.9e}", f"v {value:.9e}")
        assert agree(case, f"v {value:.6g}"), value
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
        away = value + rng.choice((1, -1)) * rng.uniform(1.6, 400) * step
        assert not agree(case, f"v {away:.6g}"), (value, away)


def test_runs_may_differ_in_the_sixth_digit_where_no_more_are_printed():
    expected = learned("v 2.0", "v 2.0")
    first, second, far = (output_comparison.read(f"v {v}") for v in ("113.216", "113.215", "113.213"))
    assert output_comparison.same(expected, first, second) and not output_comparison.same(expected, first, far)
    longer = output_comparison.read("v 113.2150000000001")
    assert not output_comparison.same(expected, first, longer)


@pytest.mark.parametrize("hash_, other", [("14695981039346656037", "14695981039346656038"), ("9007199254740993", "9007199254740992.0")])
def test_integers_that_a_double_cannot_hold_are_compared_digit_by_digit(hash_, other):
    row = json.loads(json.dumps(asdict(learned(f"hash {hash_}", f"hash {hash_}"))))  # as the journal keeps it
    expected = output_comparison.restored(row)
    assert output_comparison.differs(expected, [output_comparison.read(f"hash {hash_}")]) == ("", "")
    reason, said = output_comparison.differs(expected, [output_comparison.read(f"hash {other}")])
    got, wanted = re.fullmatch(r"line 1 \(hash\), number 1: got (\S+), expected (\S+)", said).groups()
    assert reason == "wrong_output" and wanted == hash_ and got != hash_


@pytest.mark.parametrize("printed", ["9" * 400, "9" * 5000, "1e309", "nan"])
def test_numbers_beyond_every_double_are_wrong_and_break_nothing(printed):
    assert output_comparison.differs(learned("v 7", "v 7"), [output_comparison.read(f"v {printed}")])[0] == "wrong_output"
    case = learned(f"v {printed} 2.5", f"v {printed} 2.5")
    assert agree(case, f"v {printed} 2.5") and not agree(case, f"v {printed}1 2.5") and not agree(case, "v 7 2.5")


def test_another_implementation_that_prints_nan_disagrees():
    assert "disagree" in learned("v 1.0", "v 1.0", other=("v nan",))


def test_runs_of_one_program_may_differ_by_rounding_where_the_reference_does_not():
    first, second, far = (output_comparison.read(f"v {v}") for v in ("5000000.0", "5000000.9", "5000020.0"))
    expected = learned("v 1.0", "v 1.0")
    assert output_comparison.same(expected, first, second) and not output_comparison.same(expected, first, far)


