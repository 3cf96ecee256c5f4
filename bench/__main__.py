"""`python -m bench`: the table of docs/performance.md. Progress goes to stderr, the table to stdout."""

import argparse
import asyncio
import logging
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.api import ApiError
from bench.driver import LoadError
from bench.history import TARGET_MS, HistoryPlan, history, history_table
from bench.machine import allow_open_files, describe
from bench.measure import Plan, Result, Run, Say, Soak, soak
from bench.ohmstead_server import OhmsteadServer
from bench.progress import Display, display, total
from bench.report import soak_lines, table
from bench.servers import BareServer, ServerError
from bench.sign_in import SignInPlan, sign_in_table, sign_ins
from bench.start import first_start
from ohmstead.core.errors import StartupError

_progress = logging.getLogger("bench")


def not_stored(answered: Mapping[str, int], stored: Mapping[str, int]) -> int:
    """How many answered facts have no row: each MeterValues, StatusNotification, start and stop is one."""
    return sum(max(0, answered.get(action, 0) - rows) for action, rows in stored.items())


async def run_bare(plan: Plan, say: Say, *, inline_validation: bool) -> Result:
    """One run of the bare server."""
    async with BareServer(inline_validation=inline_validation) as server:
        return await Run(server, plan, say).whole()


async def run_ohmstead(plan: Plan, say: Say, about: dict[str, str]) -> Result:
    """One run of Ohmstead, and the count of its database."""
    first = await asyncio.to_thread(first_start)
    async with OhmsteadServer(n=plan.registered) as server:
        about.update(server.about)
        result = await Run(server, plan, say, server.api).whole()
        result.figures["start_s"] = first
        stored = server.stored()
        result.figures["not_stored"] = not_stored(result.answered, stored)
        say(f"answered {dict(result.answered)}, stored {stored}")
        return result


async def run_soak(plan: Plan, say: Say) -> tuple[Soak, int]:
    """The soak, on a server and a database of its own; and how many of its answers are not stored."""
    async with OhmsteadServer(n=plan.registered) as server:
        result = await soak(server, plan, say)
        return result, not_stored(result.answered, server.stored())


async def bench(arguments: argparse.Namespace, plan: Plan, shown: Display) -> int:
    """Run everything, print the table; 0 if nothing failed and nothing answered is missing."""
    say = shown.say
    if arguments.history:
        small = HistoryPlan(chargers=200, days=60)
        asked, of = await history(small if arguments.quick else HistoryPlan(), say)
        shown.table(history_table(asked, of))
        return 0 if all(one.p99 < TARGET_MS for one in asked) else 1
    if arguments.sign_in:
        people = SignInPlan(seconds=3.0, warmup=1.0) if arguments.quick else SignInPlan()
        found = await sign_ins(people, say)
        shown.table(sign_in_table(people, found))
        return 0 if found.met else 1
    about = describe()
    bare: list[Result] = []
    own: list[Result] = []
    for number in range(1, arguments.runs + 1):
        if arguments.only != "ohmstead":
            say(f"bare server, run {number} of {arguments.runs}")
            bare.append(await run_bare(plan, say, inline_validation=arguments.inline_validation))
        if arguments.only != "bare":
            say(f"Ohmstead, run {number} of {arguments.runs}")
            own.append(await run_ohmstead(plan, say, about))
    lines = [f"- {name}: {value}" for name, value in about.items()]
    lines.append(f"- runs: {arguments.runs} of each in turn, medians; {plan.seconds:.0f} s measured a figure")
    shown.table("\n".join(lines) + f"\n\n{table(plan, bare, own)}")
    errors: Counter[str] = sum((result.errors for result in bare + own), Counter())
    words = [word for result in bare + own for word in result.words]
    missing = sum(int(result.figures["not_stored"]) for result in own)
    soaked: Soak | None = None
    if plan.soak and arguments.only != "bare":
        say(f"soak of {plan.soak:.0f} s")
        soaked, lost = await run_soak(plan, say)
        missing += lost
        words += soaked.words
        errors["in the soak"] += soaked.errors
        shown.table(f"\n{soak_lines(plan, soaked)}\nAnswers of the soak not in the database: {lost}.")
    if arguments.json:
        whole: dict[str, Any] = {"about": about, "plan": plan, "errors": errors, "soak": soaked}
        whole |= {"bare": bare, "ohmstead": own}
        arguments.json.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))
    if errors.total():
        _progress.warning("errors: %s; the first: %s", dict(+errors), words[:5])
    return 1 if errors.total() or missing else 0


def parse(words: list[str]) -> tuple[argparse.Namespace, Plan]:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=2, help="runs of each server, in turn (2)")
    parser.add_argument("--seconds", type=float, help="measured seconds of each load (10)")
    parser.add_argument("--warmup", type=float, help="seconds of load before that (3)")
    parser.add_argument(
        "--chargers", help="chargers under load, with commas; the largest is the fleet (200,2000)"
    )
    parser.add_argument("--processes", type=int, help="load processes (1)")
    parser.add_argument(
        "--paced", type=float, help="messages/s of the open-loop latency; 0 = leave out (1000)"
    )
    parser.add_argument("--soak", type=float, help="seconds of the soak; 0 = none (60)")
    parser.add_argument("--soak-rate", type=float, help="messages/s of the soak; 0 = full speed (3000)")
    parser.add_argument(
        "--sessions",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="each charger starts a transaction first and its meter values carry the id (yes)",
    )
    parser.add_argument(
        "--history",
        action="store_true",
        help="only this: two years of meter values of 2,000 chargers, and how long reading them takes"
        " (with --quick: 200 chargers and 60 days)",
    )
    parser.add_argument(
        "--sign-in",
        action="store_true",
        help="only this: what chargers and /health wait for while 30 people a second sign in",
    )
    parser.add_argument("--only", choices=["bare", "ohmstead"], help="run only one of the two")
    parser.add_argument(
        "--full", action="store_true", help="3 runs of 20 s and a soak of 300 s, for the docs"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1 run of 3 s, no soak: does the bench itself work?"
    )
    parser.add_argument(
        "--inline-validation",
        action="store_true",
        help="have the bare server check schemas on its event loop and not, as by default, in a thread pool",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run there")
    parser.add_argument(
        "--markdown", action="store_true", help="only what belongs into the docs: no progress"
    )
    arguments = parser.parse_args(words)
    plan = Plan()
    if arguments.full:
        plan, arguments.runs = replace(plan, seconds=20.0, warmup=5.0, soak=300.0), max(3, arguments.runs)
    if arguments.quick:
        plan, arguments.runs = replace(plan, seconds=3.0, warmup=1.0, soak=0.0), 1
    names = ("seconds", "warmup", "processes", "paced", "soak", "soak_rate", "sessions")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.chargers:
        given["sizes"] = tuple(sorted(int(size) for size in arguments.chargers.split(",")))
    return arguments, replace(plan, **given)


async def _until_signal(arguments: argparse.Namespace, plan: Plan) -> int:
    runs = {
        server: 0 if arguments.only not in {None, server} else arguments.runs
        for server in ("bare", "ohmstead")
    }
    with display(total(plan, **runs), quiet=arguments.markdown) as shown:
        task = asyncio.ensure_future(bench(arguments, plan, shown))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task


def main() -> int:
    """Return the exit code: 0 good, 1 something failed, 130 stopped."""
    arguments, plan = parse(sys.argv[1:])
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    if not arguments.markdown:
        _progress.setLevel(logging.INFO)
    try:
        allow_open_files(plan.registered * 2 + 500)
        return uvloop.run(_until_signal(arguments, plan))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except (ApiError, LoadError, ServerError, StartupError, OSError, EOFError, ValueError) as error:
        print(f"bench: {error or type(error).__name__}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
