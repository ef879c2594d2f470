"""Which printed fields are another in every run: times and rates with their units, dates, addresses, names of devices.

Knows units and the words around them.  Knows nothing of runs or references: a number that moves between runs of a reference
is found by `output_comparison`.

A piece is (kind, text) as `printed_text` cuts a line: numbers are of the kinds in NUMBERS, the others are word, mark, space.
"""

from __future__ import annotations

import re
from functools import lru_cache

Piece = tuple[str, str]
NUMBERS = frozenset({"hex", "real", "grouped", "whole", "special"})
TIME, RATE, DATE, ADDRESS = "<time>", "<rate>", "<date>", "<address>"
NUMBER = "<number>"
FIELDS = frozenset({TIME, RATE, DATE, ADDRESS})
STAMP = "\ue000"  # stands for a date until the line is cut
SECONDS = frozenset("s sec secs second seconds".split())
UNITS = SECONDS | frozenset(
    "ms msec msecs msecond mseconds millis millisec millisecs millisecond milliseconds us usec usecs useconds \u00b5s \u03bcs "
    "\u00b5sec \u03bcsec micros microsec microsecs microsecond microseconds ns nsec nsecs nanos nanosec nanosecs nanosecond "
    "nanoseconds mins minute minutes hrs hour hours".split()  # m, h and min are as often a metre, Planck's constant and a minimum
)
RATES = re.compile(r"[kmgtpe]?flops|[kmgt]?(?:bps|ups|teps)|fps|mips|gops|[kmgtp]i?b(?:it)?ps|(?:steps|iters?)ps")
QUANTITY = re.compile(r"[kmgtp]?(?:flops?|flop|i?b|i?bytes?|bits?|ops|updates|cells|points|items|elements|iterations|sites)")
LENGTHS = frozenset("m km cm mm um nm rad deg kg g mol j kj n c w v pc au l".split())  # a physical quantity: m/s
NOUNS = frozenset("time elapsed duration latency runtime walltime wallclock timing timings timer took taken".split())
RATE_NOUNS = frozenset("throughput bandwidth speedup performance gflops mflops tflops flops".split())
STRONG = NOUNS - {"time"} | frozenset("kernel execution exec computation total average avg mean wall cpu gpu host device".split())
SIMULATED = frozenset(
    "step steps stepping timestep timesteps final simulated simulation simulate model physical end stop arrival completion index level "
    "series constant limit zone point points decay flight period complexity t dt".split()
)
COUNTED = frozenset("iteration iterations iter iters repetition repetitions rep reps repeat repeats run runs trial trials launches".split())
OVER = frozenset({"for", "over", "of", "across", "per"})
STATISTIC = frozenset("min minimum max maximum avg average mean median std stddev stdev total sum".split())
OUTCOME = re.compile(
    r"(?:pass|fail|converg|diverg|incorrect|error|mismatch|wrong|success|succeed|unstable|reject|accept|differ|unsolv)\w*+"
    r"|valid|invalid|correct|true|false|yes|no|not|found|none|stable|equal|match(?:es|ed)?|nan|ok|win|won|lost|solved"
)
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
DATES = re.compile(
    rf"(?<![\w.:/-])(?:(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{{0,6}},?\s{{1,3}})?"
    rf"(?:{MONTH}\s{{1,3}}\d{{1,2}}|\d{{1,2}}\s{{1,3}}{MONTH})(?:,?\s{{1,3}}\d{{4}})?(?:\s{{1,3}}{CLOCK})?(?:\s[A-Z]{{3,4}})?(?:\s{{1,3}}\d{{4}})?"
    rf"|\d{{4}}([-/])\d\d\1\d\d(?:[T ]\s?{CLOCK}|[T ]\d\d:\d\d)?(?:Z|\s?[-+]\d\d:?\d\d)?|{CLOCK}(?:\s?[AP]M)?"
    r"|(?:\d{1,4}h\s?)?\d{1,4}m\s?\d{1,2}(?:\.\d{1,9})?s)(?![\w:/-])",
    re.A,
)
DATED = re.compile(r"\d:\d\d:|\dm\s?\d|\d{4}[-/]\d\d|\d\s{0,3}[A-Z][a-z]{2}|[a-z]\s{1,3}\d", re.A)
MAKER = re.compile(
    r"nvidia|tesla|geforce|quadro|rtx|gtx|radeon|instinct|intel|xeon|epyc|ryzen|amd|[ahvptlb]\d{2,3}(?:s|x|i)?|gh200|mi\d{3}x?|pocl|cortex|neoverse|emulation"
)
DEVICE = frozenset("device devices gpu gpus cpu cpus processor platform card accelerator using running selected".split())
DEVICE_HINT = re.compile("device|[gc]pu|processor|platform|card|accelerator|using|running|selected", re.I)
MEMORY_USED = re.compile(r"\bmemory\b.{0,20}\b(?:usage|used|footprint|consumption)\b|\b(?:peak|resident)\b.{0,20}\bmemory\b", re.I)
MEMORY_ENDS = re.compile(r"\bmemory\s{1,3}(?:usage|used|footprint|consumption)\s{0,3}[=:]\s{0,9}[\d.]{1,24}\s{0,3}$", re.I)
BYTES = re.compile(r"[kmgt]?i?b|bytes?|[kmg]bytes?")
ABOUT_DEVICES = frozenset("capability memory mem clock mhz ghz gb gib mb mib sm sms cores core bits bit driver version cuda r tm".split())


HINTS = {  # words in small letters: one of them stands in whatever DATES, HINT, DEVICE_HINT and MEMORY_USED find, or a form of FORMS does
    "date": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "time": ("sec", "minute", "hour", "speed", "flop", "time", "elapsed", "took", "taken", "latency", "duration", "bandwidth", "throughput",
             "performance"),
    "device": ("device", "gpu", "cpu", "processor", "platform", "card", "accelerator", "using", "running", "selected"),
    "memory": ("memory",),
}  # fmt: skip
FORMS = {"date": re.compile(r":[0-9][0-9]:|[0-9]m\s?[0-9]|[0-9]{4}[-/][0-9]"), "time": re.compile(r"s\b")}


def hints(text: str) -> set[str]:
    """Which fields can be in a text, a line or many, by a cheap look: those of HINTS."""
    if not text.isascii():
        return set(HINTS)
    low = text.lower()
    found = {kind for kind, form in FORMS.items() if form.search(low)}
    for kind, words in HINTS.items():
        for word in words if kind not in found else ():
            if word in low:
                found.add(kind)
                break
    return found


def mask_dates(text: str) -> str:
    """Dates and times of day become STAMP."""
    return DATES.sub(STAMP, text) if DATED.search(text) else text


HINT = re.compile(
    r"[a-z\u00b5\u03bc]s\b|\bs\b|[0-9]s\b|secs?\b|seconds?\b|minutes?\b|hours?\b|speed|flop|time|elapsed|took|taken|latency|duration|runtime|bandwidth"
    r"|throughput|performance", re.I
)


def may_tell(text: str) -> bool:
    """Whether a line can hold a field at all: the rest need not be looked at."""
    return STAMP in text or HINT.search(text) is not None


def masked(pieces: list[Piece]) -> tuple[list[Piece], bool]:
    """(`mask_fields` of the pieces, `tells_only` of what comes out): whatever its numbers are, a line of one wording is treated alike."""
    numbers = [text for kind, text in pieces if kind in NUMBERS]
    count = map(str, range(len(numbers)))
    found, only = _masked(tuple((kind, next(count)) if kind in NUMBERS else (kind, text) for kind, text in pieces))
    return [(kind, numbers[int(text)]) if kind in NUMBERS else (kind, text) for kind, text in found], only


@lru_cache(1 << 8)
def _masked(wording: tuple[Piece, ...]) -> tuple[list[Piece], bool]:
    pieces = mask_fields(list(wording))
    return pieces, tells_only(pieces)


def mask_fields(pieces: list[Piece]) -> list[Piece]:
    """Numbers with a unit of time or rate behind them, or in brackets before them, become fields that take their unit with them."""
    masked: list[Piece] = []
    i, last = 0, ""  # last: the word before
    statistics = _of_times_only(pieces)
    while i < len(pieces):
        kind, text = pieces[i]
        field, end = _unit_behind(pieces, i) if kind in NUMBERS else ("", i)
        if kind == "mark" and text.strip(STAMP) == "":
            field, end = DATE, i
        elif kind in NUMBERS and not field:
            field = _unit_before(masked) or _field_by_words(kind, last, statistics)
        masked.append(("field", field) if field else (kind, text))
        last = text.lower() if kind == "word" else last
        i = max(end, i) + 1
    return masked


def is_noun(word: str) -> bool:
    return not NOUNS.isdisjoint(word.lower().split("_"))


def _unit_behind(pieces: list[Piece], i: int, look: bool = True) -> tuple[str, int]:
    """(field, index of its unit's last piece) where a unit follows number `i`, ("", i) elsewhere.

    look: a number behind the unit has to have one too: "5 s 7" may be a label between two numbers.
    """
    at = i + 1
    while at < len(pieces) and at <= i + 3 and (pieces[at][0] == "space" or pieces[at][1] in "(["):
        at += 1
    if at >= len(pieces) or pieces[at][0] != "word":
        return "", i
    unit = pieces[at][1].lower()
    if RATES.fullmatch(unit):
        return RATE, at
    beyond = _beyond(pieces, at)
    if len(beyond) > 1 and beyond[0] in ("/", "per") and beyond[1] in UNITS:
        physical = unit in LENGTHS or (len(unit) < 3 and not re.fullmatch("[kmgtp]?b", unit))
        return ("", i) if physical else (RATE, _index_of(pieces, at, beyond[1]))
    if unit not in UNITS or pieces[at][1] in ("S", "US", "MS", "NS"):
        return "", i
    if beyond and (beyond[0] in ("=", "^", "*") or (beyond[0] == ":" and unit == "s")):
        return "", i
    if look and beyond and beyond[0] == NUMBER and not _unit_behind(pieces, _index_of_number(pieces, at), False)[0]:
        return "", i
    return TIME, at


def _beyond(pieces: list[Piece], at: int) -> list[str]:
    """The next pieces behind `at`, white space and closing brackets left out; a number is NUMBER."""
    found = []
    for kind, text in pieces[at + 1 : at + 6]:
        if kind != "space" and text not in (")", "]"):
            found.append(NUMBER if kind in NUMBERS else text.lower())
    return found


def _index_of(pieces: list[Piece], at: int, word: str) -> int:
    return next(j for j in range(at + 1, at + 6) if pieces[j][1].lower() == word)


def _index_of_number(pieces: list[Piece], at: int) -> int:
    return next(j for j in range(at + 1, at + 6) if pieces[j][0] in NUMBERS)


def _unit_before(pieces: list[Piece]) -> str:
    """A unit in brackets, or at the end of a noun: time (ms): 5, kernel [us] = 5, time_ms 5, elapsed ms: 5."""
    tail = [(kind, text.lower()) for kind, text in pieces[-16:] if kind != "space"]
    while tail and tail[-1][1] in (":", "="):
        tail.pop()
    if _names_a_rate(tail):
        return RATE
    if len(tail) > 1 and tail[-1][1] in (")", "]") and tail[-2][0] == "word":
        words = [text for kind, text in tail[:-2] if kind == "word"]
        plural = pieces[-1:] and tail[-2][1] == "s" and not (words and is_noun(words[-1]))  # thread(s)
        return TIME if tail[-2][1] in UNITS and not plural else RATE if RATES.fullmatch(tail[-2][1]) else ""
    if not tail or tail[-1][0] != "word":
        return ""
    parts = tail[-1][1].split("_")
    before = tail[-2][1] if len(tail) > 1 else ""
    timed = parts[-1] in UNITS and (not NOUNS.isdisjoint(parts) or (len(parts) == 1 and is_noun(before)))
    return TIME if timed else ""


def _names_a_rate(tail: list[Piece]) -> bool:
    """Whether a quantity per second stands at the end of a label, in brackets or with a remark behind it: GFLOP/s, GB/s (GPU memory)."""
    texts = [text for _, text in tail]
    if texts[-1:] == [")"] and "(" in texts:
        at = len(texts) - 1 - texts[::-1].index("(")
        return _rate(texts[at + 1 : -1]) or _rate(texts[:at])
    return _rate(texts)


def _rate(texts: list[str]) -> bool:
    return len(texts) > 2 and texts[-2] == "/" and texts[-1] in SECONDS and QUANTITY.fullmatch(texts[-3]) is not None


def _of_times_only(pieces: list[Piece]) -> bool:
    """Whether all words of a line are of times, one of them a unit: its statistics are times wherever the unit stands."""
    words = {text.lower() for kind, text in pieces if kind == "word"}
    return not words.isdisjoint(UNITS) and not words.isdisjoint(NOUNS) and words <= NOUNS | STATISTIC | UNITS | STRONG | RATE_NOUNS


def _field_by_words(kind: str, last: str, statistics: bool) -> str:
    """A statistic of times whose unit stands elsewhere in the line, or how many times faster something is."""
    if kind != "real":
        return ""
    return RATE if last == "speedup" else TIME if statistics and last in STATISTIC else ""


def tells_only(pieces: list[Piece]) -> bool:
    """Whether a line tells a time, a rate or a date and nothing else, however it is worded."""
    kinds = {kind for kind, _ in pieces}
    numbers = [i for i, (kind, _) in enumerate(pieces) if kind in NUMBERS]
    if not kinds.isdisjoint(("raw", "glued")) or ("field" not in kinds and len(numbers) != 1):
        return False
    words = [text.lower() for kind, text in pieces if kind == "word"]
    if any(OUTCOME.fullmatch(w) for w in words):
        return False
    if "field" in kinds:
        return all(_counts_runs(pieces, i) for i in numbers)
    return _time_without_unit(pieces, numbers[0], words)


def _counts_runs(pieces: list[Piece], i: int) -> bool:
    """Whether number `i` says of how many runs the time is: over 100 iterations."""
    before = [text.lower() for kind, text in pieces[max(0, i - 3) : i] if kind != "space"]
    behind = _beyond(pieces, i)
    return pieces[i][0] in ("whole", "grouped") and behind[:1] != [] and behind[0] in COUNTED and before[-1:] != [] and before[-1] in OVER


def _time_without_unit(pieces: list[Piece], i: int, words: list[str]) -> bool:
    before = {part for kind, text in pieces[:i] if kind == "word" for part in text.lower().split("_")}
    said = {part for w in words for part in w.split("_")}
    if NOUNS.isdisjoint(before) and RATE_NOUNS.isdisjoint(before):
        return False
    if not SIMULATED.isdisjoint(said) or any(kind == "word" for kind, _ in pieces[i + 1 :]):
        return False
    return pieces[i][0] in ("real", "grouped") or (not NOUNS.isdisjoint(before) and not STRONG.isdisjoint(before))


def names_device(text: str, pieces: list[Piece]) -> bool:
    """Whether a line only names a device: a maker or model, a word for a device, and numbers that are its index or size."""
    if not DEVICE_HINT.search(text):
        return False
    words = [part for kind, text in pieces if kind == "word" for part in text.lower().split("_")]
    if DEVICE.isdisjoint(words) or not any(MAKER.fullmatch(w) for w in words) or any(OUTCOME.fullmatch(w) for w in words):
        return False
    numbers = [i for i, (kind, _) in enumerate(pieces) if kind in NUMBERS | {"raw", "glued"}]
    return all(_of_device(pieces, i) for i in numbers)


def tells_memory(text: str, pieces: list[Piece]) -> bool:
    """Whether a line only tells how much memory the process uses: one number, with a unit of bytes or as the end of such a label."""
    if not MEMORY_USED.search(text):
        return False
    words = [piece.lower() for kind, piece in pieces if kind == "word"]
    numbers = sum(kind in NUMBERS for kind, _ in pieces)
    amount = MEMORY_ENDS.search(text) or any(BYTES.fullmatch(w) for w in words)
    return numbers == 1 and bool(amount) and not any(OUTCOME.fullmatch(w) for w in words)


def _of_device(pieces: list[Piece], i: int) -> bool:
    near = [text.lower() for kind, text in pieces[max(0, i - 4) : i + 4] if kind == "word"]
    return any(w in ABOUT_DEVICES or w in ("device", "gpu", "cpu", "platform") or MAKER.fullmatch(w) for w in near)
