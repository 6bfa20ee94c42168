"""The command ``taps``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taps import __version__

if TYPE_CHECKING:
    from taps.run import RunOutcome

__all__ = ["main"]

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

_EXAMPLES = """\
examples:
  taps list
  taps run --app mapreduce --executor process-pool
  taps run --app cholesky --app.matrix-size 2048 --transformer proxystore
  taps compare runs/FIRST runs/SECOND
  taps report runs/* --output report.html

exit codes: 0 right results, 1 a wrong result or a failure, 2 usage, 130 Ctrl-C"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; `None` takes those of the process.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            return _dispatch(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 0


def _discard_output() -> None:
    # `taps list | head`: the reader has enough. Python would complain once more
    # when it flushes the closed pipe at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: Sequence[str]) -> int:
    from proxystore.errors import ConfigError, ConnectorNotInstalledError, ProxyStoreError
    from taps.errors import PluginLoadError, UsageError

    try:
        if arguments[:1] == ["run"]:
            return _run(arguments[1:])
        return _other(arguments)
    except (UsageError, PluginLoadError, ConfigError, ConnectorNotInstalledError) as exc:
        print(f"taps: {exc}", file=sys.stderr)
        return EXIT_USAGE
    except ProxyStoreError as exc:
        print(f"taps: {exc}", file=sys.stderr)
        return EXIT_WRONG
    except KeyboardInterrupt:
        print("taps: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    from rich.console import Console

    from taps.run import run
    from taps.run.options import parse_run
    from taps.run.progress import bar_on

    config = parse_run(arguments)
    outcome = run(config, progress=bar_on(Console()))
    try:
        _print_summary(outcome)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()  # What came of the run is the exit code all the same.
    return 0 if outcome.verified else EXIT_WRONG


def _print_summary(outcome: RunOutcome) -> None:
    rows = {
        "verified": f"{'yes' if outcome.verified else 'NO'}: {outcome.detail}",
        "makespan": f"{outcome.makespan_s:.3f} s",
        "tasks": f"{outcome.tasks} ({outcome.failed} failed)",
        "by value": f"{outcome.bytes_by_value:,} bytes",
        "by reference": f"{outcome.bytes_by_reference:,} bytes",
        "run": str(outcome.run_dir),
    }
    if outcome.error is not None:
        lines = [*outcome.error.splitlines(), "(the traceback is in its log file)"]
        rows["error"] = f"\n{'':<14}".join(lines)
    for name, text in rows.items():
        print(f"{name:<14}{text}")


def _other(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        return _list()
    if options.command == "compare":
        from taps.report import compare

        return int(compare(options.first, options.second, force=options.force))
    if options.command == "report":
        return _report(options.runs, options.output)
    if options.command == "demo":
        from taps.demo import demo

        return int(demo(options.out, quick=options.quick))
    _parser().print_help()
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taps",
        description="The Task Performance Suite: run real applications on task executors, "
        "verify their results, and measure where the time and the bytes go.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"taps {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run an application once", add_help=False)
    commands.add_parser("list", help="what is installed: apps, executors, transformers, filters")
    compare = commands.add_parser(
        "compare",
        help="two runs side by side",
        description="Print two runs of the same problem side by side, with the ratio of the "
        "second to the first. Exits with 1 if a result is not verified, and with 2 if the runs "
        "solved different problems.",
    )
    compare.add_argument("first", type=Path, metavar="RUN", help="a run directory")
    compare.add_argument("second", type=Path, metavar="RUN", help="another one")
    compare.add_argument("--force", action="store_true", help="even if they ran different things")
    report = commands.add_parser(
        "report",
        help="one HTML file with plots of some runs",
        description="Write one HTML file that shows where the time and the bytes of some runs "
        "went. Runs that cannot be read are named and left out; exits with 1 if all are.",
    )
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    report.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="file to write (report.html)"
    )
    demo = commands.add_parser("demo", help="real applications by value and by proxy, compared")
    demo.add_argument("--out", type=Path, default=None, help="directory of runs and report")
    demo.add_argument("--quick", action="store_true", help="smaller problems, in a few seconds")
    return parser


def _report(runs: Sequence[Path], output: Path) -> int:
    from taps.errors import RunError
    from taps.report import read_run, write_html

    usable = []
    for path in runs:
        try:
            run = read_run(path)
        except RunError as exc:
            print(f"taps: left out: {exc}", file=sys.stderr)
            continue
        if run.note:
            print(f"taps: {run.note}", file=sys.stderr)
        usable.append(run)
    if not usable:
        print("taps: there is no run to report.", file=sys.stderr)
        return EXIT_WRONG
    print(f"The report is in {write_html(usable, output)}.")
    return 0


def _list() -> int:
    from taps.errors import PluginLoadError
    from taps.plugins import Plugin, PluginConfig, load_plugin, plugin_names

    for kind in Plugin:
        print(f"{kind.value}s")
        for name in plugin_names(kind):
            try:
                summary = (load_plugin(kind, name, PluginConfig).__doc__ or "").partition("\n")[0]
            except PluginLoadError as exc:
                summary = f"not usable: {exc.reason}. {exc.advice}"
            print(f"  {name:<14} {summary}")
    return 0
