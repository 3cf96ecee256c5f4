"""From the figures of all runs to one table."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.measure import Plan, Result, Soak

Show = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: `names` are figures, shown with a slash between; the first is judged."""

    label: str
    names: tuple[str, ...]
    show: Show
    target: str = ""
    met: Callable[[float, float], bool] | None = None  # (ohmstead, bare) -> is the target met


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _fine(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def rows(plan: Plan) -> list[Row]:
    """The lines of the table in order."""
    first, fleet = plan.sizes[0], plan.fleet
    lines: list[Row] = []
    for size in plan.sizes:
        rate, latency = f"rate_{size}", (f"p99_{size}", f"p50_{size}")
        lines.append(
            Row(
                f"answered messages/s, {size:,} chargers at full speed",
                (rate,),
                _count,
                ">= 4 x bare",
                lambda own, bare: own >= 4 * bare,
            )
        )
        small = size == first
        lines.append(
            Row(
                "  p99 / p50, ms",
                latency,
                _fine,
                "p99 < 100 ms" if small else "",
                (lambda own, _: own < 100) if small else None,
            )
        )
        if plan.paced:
            paced = (f"p99_paced_{size}", f"p50_paced_{size}")
            lines.append(Row(f"  p99 / p50 at {plan.paced:,.0f} messages/s, ms", paced, _fine))
    lines += [
        Row(
            "`ohmstead demo` with nothing there, until /health answers, s",
            ("start_s",),
            _fine,
            "< 8 s",
            lambda own, _: own < 8,
        ),
        Row("memory per idle charger, KiB", ("memory_kib",), _fine, "<= 40 KiB", lambda own, _: own <= 40),
        Row(f"  of the second {fleet - fleet // 2:,} alone, KiB", ("memory_half_kib",), _fine),
        Row(f"boot storm of {fleet:,}, s", ("storm_s",), _fine, "< 10 s", lambda own, _: own < 10),
        Row("  errors in it", ("storm_errors",), _count, "0", lambda own, _: own == 0),
        Row("command round trip, idle, p99 / p50, ms", ("p99_command_idle", "p50_command_idle"), _fine),
        Row(
            f"  while {first:,} chargers run at full speed, ms",
            ("p99_command_busy", "p50_command_busy"),
            _fine,
        ),
        Row(
            f"configuration change of {fleet:,} chargers, {plan.wave} at once, s",
            ("rollout_s",),
            _fine,
        ),
        Row("  chargers at which it failed", ("rollout_failed",), _count, "0", lambda own, _: own == 0),
        Row(
            f"  p99 / p50 meanwhile at {plan.meanwhile:,.0f} messages/s, ms",
            ("p99_rollout", "p50_rollout"),
            _fine,
        ),
        Row("answers not in the database", ("not_stored",), _count, "0", lambda own, _: own == 0),
        Row("errors in all", ("errors",), _count, "0", lambda own, _: own == 0),
    ]
    for size in plan.sizes:
        lines += [
            Row(f"CPU of the server per message, {size:,} chargers, us", (f"server_us_{size}",), _fine),
            Row("  of PostgreSQL, us", (f"postgresql_us_{size}",), _fine),
            Row("  of the load client, us", (f"client_us_{size}",), _fine),
        ]
    return lines


def table(plan: Plan, bare: list[Result], own: list[Result]) -> str:
    """The table, aligned and in Markdown at once. Medians over the runs; a rate also shows its extremes."""
    cells = [["", "bare server", "Ohmstead", "ratio", "target", "met"]]
    for row in rows(plan):
        theirs, ours = _values(bare, row.names), _values(own, row.names)
        if not theirs and not ours:
            continue
        ratio = f"{ours[0] / theirs[0]:.2f}" if ours and theirs and theirs[0] else ""
        met = ""
        if row.met is not None and ours and (theirs or "bare" not in row.target):
            met = "yes" if row.met(ours[0], theirs[0] if theirs else 0.0) else "no"
        cells.append([row.label, _cell(row, theirs, bare), _cell(row, ours, own), ratio, row.target, met])
    return _aligned(cells, left=frozenset({0, 4, 5}))


def _values(results: list[Result], names: tuple[str, ...]) -> list[float]:
    found = [[result.figures[name] for result in results if name in result.figures] for name in names]
    return [median(values) for values in found] if all(found) else []


def _cell(row: Row, values: list[float], results: list[Result]) -> str:
    if not values:
        return "-"
    text = " / ".join(row.show(value) for value in values)
    if row.names[0].startswith("rate_") and len(results) > 1:
        each = [result.figures[row.names[0]] for result in results]
        text += f" ({row.show(min(each))} to {row.show(max(each))})"
    return text


def _aligned(cells: list[list[str]], *, left: frozenset[int]) -> str:
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = []
    for number, line in enumerate(cells):
        padded = [
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
        if number == 0:
            rule = [
                "-" * width if column in left else "-" * (width - 1) + ":"
                for column, width in enumerate(widths)
            ]
            lines.append(f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def soak_lines(plan: Plan, soak: Soak) -> str:
    """What the soak showed, in a small table of its own and one sentence."""
    rate = f"{plan.soak_rate:,.0f} messages/s" if plan.soak_rate else "full speed"
    samples = [["second", *(f"{second:.0f}" for second, _ in soak.rss)]]
    samples.append(["RSS of the server, MiB", *(f"{mib:.1f}" for _, mib in soak.rss)])
    return (
        f"Soak: {plan.fleet:,} chargers for {plan.soak:.0f} s at {rate} ({soak.rate:,.0f} answered/s, p99"
        f" {soak.p99_ms:.1f} ms, {soak.errors} errors). From the second sample to the last, memory moved by"
        f" {soak.growth_mib:+.1f} MiB.\n\n{_aligned(samples, left=frozenset({0}))}"
    )
