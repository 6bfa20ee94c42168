"""Everything that builds, tests and measures this repository: ``./ci/nox --list``."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "ci"))

import pythons  # noqa: E402 - found through the line above
import tree  # noqa: E402
import wheels  # noqa: E402

FOUND = pythons.find()
OLDEST = pythons.SUPPORTED[0]
PACKAGES = wheels.PACKAGES
EACH_PACKAGE = nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))

LINT_TOOLS = ("ruff==0.17.*", "import-linter==2.*", "deptry==0.25.*", "towncrier==26.*")
TYPES_TOOLS = ("nox", "mypy==2.*", "pyright[nodejs]==1.1.*")
QUICK = ["-m", "not slow"]
# What deptry cannot know of what it does not see installed.
MODULES = {"pyzmq": "zmq", "ucxx-cu12": "ucxx"}
MINIATURES = ("genomes", "deepdrive", "wordcount")
DOCS_TOOLS = ("sphinx==9.*", "furo==2025.12.*", "myst-parser==5.*", "sphinx-copybutton==0.5.*")

# In front, for nox must not meet the shims of versions that are not active.
os.environ["PATH"] = os.pathsep.join([*(str(p.parent) for p in FOUND.values()), os.environ["PATH"]])
nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "types",
    "docs",
    "new-connector",
    "tests",
    "tests_min",
    "torch",
    "engines",
]


# --- Tests --------------------------------------------------------------------


@functools.cache
def _services(names: tuple[str, ...]) -> None:
    """See to the servers that the tests use: install with CI set, otherwise say what is missing."""
    if not names:
        print("These tests need no server.")
        return
    script = ["sh", str(ROOT / "ci" / "services")]
    if os.environ.get("CI"):
        subprocess.run([*script, *names], check=True)
        os.environ["PROXYSTORE_REQUIRE_SERVICES"] = "1"
    else:
        subprocess.run([*script, "--check", *names], check=False)


def _posargs(session: nox.Session, package: tree.Package) -> list[str]:
    """What to tell pytest; skips the session if the packages named first are others."""
    rest = list(session.posargs)
    asked: list[str] = []
    while rest and any(known.answers_to(rest[0]) for known in PACKAGES.values()):
        asked.append(rest.pop(0))
    if asked and not any(package.answers_to(name) for name in asked):
        session.skip(f"{package.name} was not asked for")
    return rest


def _run_tests(
    session: nox.Session,
    package: tree.Package,
    options: list[str],
    command: tuple[str, ...] = ("python", "-Im", "pytest"),
) -> None:
    """Test what is installed. Not the checkout: the tests run in an empty directory elsewhere."""
    _services(package.services)
    with tempfile.TemporaryDirectory(prefix="tests-") as elsewhere, session.chdir(elsewhere):
        session.run("python", "-I", str(ROOT / "ci/check_installed.py"), package.import_name)
        session.run(
            *command,
            "--import-mode=importlib",
            f"--rootdir={package.path}",
            f"--override-ini=cache_dir={elsewhere}/.pytest_cache",
            str(package.path / "tests"),
            *options,
        )


@nox.session(python=list(FOUND) if OLDEST in FOUND else [OLDEST, *FOUND])
@EACH_PACKAGE
def tests(session: nox.Session, package: str) -> None:
    """Each package from its wheel, on every Python found: `-- [PACKAGE...] [pytest options]`.

    Without options the slow tests run on the oldest Python alone: three times they take an hour.
    """
    options = _posargs(session, PACKAGES[package])
    if not options and session.python != OLDEST:
        options = QUICK
    wheels.install(session, package, *PACKAGES[package].test_group)
    _run_tests(session, PACKAGES[package], options)


@nox.session(python=OLDEST, venv_backend="uv")
@EACH_PACKAGE
def tests_min(session: nox.Session, package: str) -> None:
    """Each package with the lowest versions that it declares; quick tests, without options."""
    options = _posargs(session, PACKAGES[package]) or QUICK
    declared = [each for each in PACKAGES[package].declared() if each.name not in PACKAGES]
    for each in declared:
        if each.floor is None:
            session.error(f"{each.text!r} of {package} has no floor: write >= and a version.")
    wheels.install(
        session,
        package,
        *PACKAGES[package].test_group,
        *(each.text for each in declared),
        lowest=True,
    )
    floors = [f"{each.name}=={each.floor}" for each in declared]
    session.run("python", "-I", str(ROOT / "ci/check_floors.py"), *floors)
    _run_tests(session, PACKAGES[package], options)


@nox.session(python=OLDEST, venv_backend="uv")
def torch(session: nox.Session) -> None:
    """What core's tests say of tensors: in an environment of its own, for torch takes 3 GB."""
    package = PACKAGES["proxystore-core"]
    wheels.install(session, package.name, *package.test_group, "torch>=2.4")
    _run_tests(session, package, ["-k", "torch or tensor", "-rs", *session.posargs])


@nox.session(python=OLDEST, venv_backend="uv")
def engines(session: nox.Session) -> None:
    """Patterns' tests on Ray and Globus Compute: in an environment of their own, for their size."""
    package = PACKAGES["proxystore-patterns"]
    wheels.install(
        session, f"{package.name}[ray]", *package.test_group, "globus-compute-endpoint>=3.0"
    )
    _run_tests(session, package, ["-k", "ray or globus", "-rs", *session.posargs])


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    """Lines and branches that the tests of all packages reach, as a table."""
    rcfile = f"--rcfile={ROOT}/.coveragerc"
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/.coverage"
        command = ("python", "-m", "coverage", "run", data, rcfile, "-m", "pytest")
        for name, package in PACKAGES.items():
            wheels.install(session, name, *package.test_group, "coverage==7.*")
            _run_tests(session, package, session.posargs, command)
        session.run("python", "-m", "coverage", "combine", data, rcfile, folder)
        session.run("python", "-m", "coverage", "report", data, rcfile)


# --- Checks -------------------------------------------------------------------


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Style, layers, declared dependencies, changelogs and the shape of the tree."""
    session.install(*LINT_TOOLS)
    session.run("ruff", "check", "--config", ".ruff.toml", ".")
    sources = os.pathsep.join(str(package.path / "src") for package in PACKAGES.values())
    session.run("lint-imports", "--config", ".importlinter", env={"PYTHONPATH": sources})
    modules = {package.name: package.import_name for package in PACKAGES.values()}
    names = ",".join(f"{name}={module}" for name, module in (modules | MODULES).items())
    for package in PACKAGES.values():
        with session.chdir(package.path):
            session.run("deptry", "src", "--package-module-name-map", names)
        session.run(
            *("towncrier", "build", "--draft", "--config", ".towncrier.toml"),
            *("--dir", str(package.path), "--version", package.version),
            silent=True,
        )
    for checker in ("check_tree.py", "check_changes.py"):
        session.run("python", f"ci/{checker}")
    session.run("python", "ci/front_door.py", "--check")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """Strict mypy on the installed wheels, and pyright too on what users would write."""
    groups = [text for package in PACKAGES.values() for text in package.test_group]
    wheels.install(session, *_everything(), *groups, *TYPES_TOOLS)
    mypy = ("python", "-Im", "mypy", "--config-file", str(ROOT / ".mypy.ini"))
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        for package in PACKAGES.values():
            session.run(*mypy, "-p", package.import_name)
        written = sorted(str(path) for path in ROOT.glob("packages/*/typing_tests/*.py"))
        if not written:
            session.error("No packages/*/typing_tests/*.py: nothing to check.")
        session.run(*mypy, *written)
        for folder in _scripts():
            scripts = sorted(str(path) for path in folder.glob("*.py"))
            session.run(*mypy, *scripts, env={"MYPYPATH": str(folder)})
    pyright = ("pyright", "--project", ".pyrightconfig.json", "--pythonpath", _python(session))
    said = str(session.run(*pyright, silent=True))
    session.log(said)
    if "No source files found" in said:
        session.error("pyright found nothing to check, and would call that a success.")


def _scripts() -> list[Path]:
    """Folders of programs that are no part of a package."""
    beside = (path for name in ("soak", "miniatures") for path in ROOT.glob(f"packages/*/{name}"))
    return [ROOT / "ci", ROOT / "ci" / "bench", *beside]


def _everything() -> list[str]:
    """Every package with all its extras, as requirements."""
    return [f"{each.name}[{','.join(each.extras)}]" for each in PACKAGES.values()]


def _python(session: nox.Session) -> str:
    return str(Path(session.bin) / "python")


# --- Documentation ------------------------------------------------------------


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the site, warnings being errors, and run every Python example: `-- --serve`."""
    core = PACKAGES["proxystore-core"]
    wheels.install(session, *_everything(), *core.test_group, *DOCS_TOOLS)
    for generator in ("capability_table.py", "proxy_matrix.py"):
        session.run("python", "-I", f"ci/{generator}", "--check")
    session.run("python", "-I", "ci/run_examples.py")
    # Every page is read again: a cached page hides the warnings of the build before.
    session.run(
        *("python", "-Im", "sphinx", "-W", "-n", "--keep-going", "--fresh-env", "--quiet"),
        *("-b", "html", "docs", "docs/_build/html"),
    )
    session.log("The site is in docs/_build/html/index.html")
    if "--serve" in session.posargs:
        session.run("python", "-m", "http.server", "-b", "127.0.0.1", "-d", "docs/_build/html")


# --- Packages and runs --------------------------------------------------------


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Source distribution and wheel of each package, in dist/."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for name, package in PACKAGES.items():
        wheels.build(session, package, ROOT / "dist" / name, "--sdist", "--wheel")
    for path in sorted((ROOT / "dist").glob("*/*.[wt]*")):
        session.log(str(path.relative_to(ROOT)))


@nox.session(python=OLDEST)
def demo(session: nox.Session) -> None:
    """One real run on a process pool, by value and by proxy, with a report: `-- --help`."""
    wheels.install(session, "proxystore-core", "taps[all]")
    session.run("taps", "demo", *session.posargs)


@nox.session(python=OLDEST, venv_backend="uv")
def bench(session: nox.Session) -> None:
    """Measure beside the older system and others, in an environment of theirs: `-- core proxy`."""
    _services(("redis",))
    groups = PACKAGES["proxystore-core"].groups
    wheels.install(session, *_everything(), *groups["bench"])
    peer = Path(session.virtualenv.location) / "peer"
    uv = (sys.executable, "-m", "uv")
    session.run(*uv, "venv", "--quiet", "--clear", "-p", _python(session), str(peer), external=True)
    session.run(
        *(*uv, "pip", "install", "--quiet", "-p", str(peer / "bin/python")),
        *groups["bench-peer"],
        external=True,
    )
    results = ROOT / "runs"
    results.mkdir(exist_ok=True)
    arguments = ("--peer", str(peer / "bin/python"), "--out", str(results), *session.posargs)
    session.run("python", "ci/bench/run.py", *arguments)


@nox.session(python=OLDEST)
def miniatures(session: nox.Session) -> None:
    """Workflows in miniature, with patterns and without, drawn for the docs: `-- [NAME...]`."""
    package = PACKAGES["proxystore-patterns"]
    wheels.install(session, package.name, *package.groups["miniatures"])
    folder, results = package.path / "miniatures", ROOT / "runs" / "miniatures"
    figures = []
    for name in session.posargs or MINIATURES:
        figures.append(str(results / f"{name}.json"))
        session.run("python", "-I", str(folder / f"{name}.py"), "--out", figures[-1])
    pictures = ROOT / "docs" / "explanation" / "miniatures"
    session.run("python", "-I", str(folder / "plots.py"), *figures, "--into", str(pictures))


@nox.session(python=OLDEST)
def soak(session: nox.Session) -> None:
    """Long runs that look for leaks and lost objects: `-- [PACKAGE] [SECONDS] [options]`."""
    soaked = [p for p in PACKAGES.values() if (p.path / "soak/run.py").exists()]
    rest = list(session.posargs)
    if rest and any(package.answers_to(rest[0]) for package in PACKAGES.values()):
        name = rest.pop(0)
        soaked = [package for package in soaked if package.answers_to(name)]
    if not soaked:
        session.error("No packages/*/soak/run.py to run.")
    for package in soaked:
        wheels.install(session, package.name, *package.test_group)
        session.run("python", "-I", str(package.path / "soak/run.py"), *rest)


@nox.session(python=OLDEST)
def memcheck(session: nox.Session) -> None:
    """The tests of the C proxy under valgrind."""
    package = PACKAGES["proxystore-core"]
    wheels.install(session, package.name, *package.test_group)
    names = ("", "_implementations", "_special", "_variants")
    tests = [str(package.path / "tests" / f"test_proxy{name}.py") for name in names]
    session.run("python", "-I", "ci/memcheck.py", *tests)


@nox.session(name="new-connector", python=OLDEST)
def new_connector(session: nox.Session) -> None:
    """Make packages/proxystore-connectors-NAME and test it: `-- NAME` (none: in scratch)."""
    with tempfile.TemporaryDirectory(prefix="new-connector-") as scratch:
        arguments = session.posargs or ["sample", "--into", scratch]
        session.run("python", "-I", "ci/new_connector.py", *arguments)
        parent = Path(scratch) if not session.posargs else ROOT / "packages"
        name = f"proxystore-connectors-{arguments[0]}"
        package = tree.Package.read(parent / name)
        wheel = wheels.build(session, package, Path(scratch) / "wheel", "--wheel")
        wheels.install(session, name, *package.test_group, own={name: wheel})
        _run_tests(session, package, [])
        session.run("python", "-I", "ci/run_examples.py", str(package.path / "README.md"))
