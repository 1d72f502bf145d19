"""Golden vectors of schedules: values from their formulas, in 60 digits, by mpmath.

Run from the repository root, with mpmath installed:

    python tools/golden/schedules.py

Writes `crates/kd-train/tests/golden/schedules.json`. The file is part of the repository; nothing runs this in CI.
The formulas are stated here a second time and from their documentation alone; knobs are read as doubles, as TOML has them.
"""

import json
import pathlib
import platform

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60
OUT = pathlib.Path("crates/kd-train/tests/golden/schedules.json")
STEPS = [1, 2, 3, 4, 5, 6, 7, 8, 11, 26]


def within(t, begin, end):
    return min(max((t - mpf(begin)) / (mpf(end) - mpf(begin)), mpf(0)), mpf(1))


def cosine(a, b, p):
    return a + (b - a) * (1 - mpmath.cos(mpmath.pi * p)) / 2


CURVES = {
    "linear": lambda a, b, p: a + (b - a) * p,
    "cosine": cosine,
    "cubic": lambda a, b, p: b + (a - b) * (1 - p) ** 3,
    "exponential": lambda a, b, p: 1 - (1 - a) * ((1 - b) / (1 - a)) ** p,
    "geometric": lambda a, b, p: a * (b / a) ** p,
}


def ramp(name, start, to, begin=0.0, end=1.0):
    text = f"{name} = {{ from = {start!r}, to = {to!r}, begin = {begin!r}, end = {end!r} }}"
    return text, lambda t: CURVES[name](mpf(start), mpf(to), within(t, begin, end))


def constant(value):
    return f"constant = {{ value = {value!r} }}", lambda t: mpf(value)


def step(at, values):
    def value(t):
        reached = [v for a, v in zip(at, values) if mpf(a) <= t]
        return mpf(reached[-1]) if reached else mpf(0)

    return f"step = {{ at = {at!r}, values = {values!r} }}", value


def one_cycle(peak, warm_up=0.3, start_factor=25.0, end_factor=10000.0):
    start = mpf(peak) / mpf(start_factor)
    last = start / mpf(end_factor)

    def value(t):
        if t < mpf(warm_up):
            return cosine(start, mpf(peak), within(t, 0, warm_up))
        return cosine(mpf(peak), last, within(t, warm_up, 1))

    knobs = f"peak = {peak!r}, warm-up = {warm_up!r}, start-factor = {start_factor!r}, end-factor = {end_factor!r}"
    return f"one-cycle = {{ {knobs} }}", value


def table(schedule):
    """`name = knobs` as a value of its own."""
    return "{ " + schedule[0] + " }"


def warm_up(share, then):
    def value(t):
        return then[1](mpf(0)) * t / mpf(share) if t < mpf(share) else then[1](within(t, share, 1))

    return f"warm-up = {{ share = {share!r}, then = {table(then)} }}", value


def sequence(*pieces):
    def value(t):
        begin = 0.0
        for until, piece in pieces:
            if t < mpf(until) or until == 1.0:
                return piece[1](within(t, begin, until))
            begin = until

    return "sequence = [" + ", ".join(f"[{until!r}, {table(piece)}]" for until, piece in pieces) + "]", value


SCHEDULES = (
    [
        ramp(name, start, to, *window)
        for name in CURVES
        for start, to in [(0.05, 0.9), (0.9, 0.125), (0.5, 0.5)]
        for window in [(), (0.1, 0.75), (0.0, 0.5), (0.3, 1.0)]
    ]
    + [ramp("linear", -3.0, 1e6), ramp("exponential", -1.0, 0.99), ramp("exponential", 0.0, 0.9999)]
    + [ramp("geometric", 1e-2, 1e-6), ramp("geometric", 8.0, 1.0), ramp("cubic", 0.0, 1.0, 0.0, 0.75)]
    + [constant(0.001), constant(-2.5)]
    + [step([0.0, 0.5, 0.75], [1.0, 0.1, 0.01]), step([0.25], [7.0]), step([1.0], [3.0])]
    + [one_cycle(0.004), one_cycle(1.0, 0.5, 10.0, 100.0), one_cycle(2.0, 0.0)]
    + [warm_up(0.2, constant(5.0)), warm_up(0.1, ramp("cosine", 1e-3, 1e-5)), warm_up(0.0, ramp("linear", 1.0, 0.0))]
    + [
        sequence((0.3, constant(0.0)), (1.0, ramp("linear", 0.0, 1.0))),
        sequence((0.25, ramp("geometric", 1e-4, 1e-2)), (0.5, constant(1e-2)), (1.0, warm_up(0.5, ramp("cubic", 0.2, 0.8)))),
    ]
)


def place(i, steps):
    """i/(steps - 1) in doubles, since it is doubles that schedules are given."""
    return mpf(i / (steps - 1)) if steps > 1 else mpf(0)


def main():
    cases = [
        {
            "schedule": text,
            "values": {str(n): [float(value(place(i, n))) for i in range(n)] for n in STEPS},
        }
        for text, value in SCHEDULES
    ]
    header = {
        "about": "kd schedule eval: values by formula in 60 digits, rounded to doubles",
        "regenerate": "python tools/golden/schedules.py",
        "versions": {"python": platform.python_version(), "mpmath": mpmath.__version__},
        "tolerance": {"f64": 1e-14, "measure": "|a - b| <= tolerance * max(|b|, largest value of the list)"},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text('{\n"header": ' + json.dumps(header, indent=1) + ',\n"cases": [\n' + lines + "\n]\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
