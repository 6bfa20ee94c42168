"""The packages of this repository, as their pyproject.toml files describe them."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Requirement:
    """One requirement string, taken apart as far as this repository needs."""

    text: str
    name: str
    extras: tuple[str, ...]
    floor: str | None

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Take ``text`` apart.

        Raises:
            ValueError: It does not begin with a distribution's name.
        """
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^]]*)\])?", text)
        if match is None:
            raise ValueError(f"{text!r} is not a requirement: expected a name first.")
        floor = re.search(r"(?:>=|==|~=)\s*([\w.]+)", text.partition(";")[0])
        extras = tuple(extra.strip() for extra in (match[2] or "").split(",") if extra.strip())
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        return cls(text, name, extras, floor[1] if floor else None)


@dataclasses.dataclass(frozen=True)
class Package:
    """A distribution in ``packages/``."""

    path: Path
    name: str
    version: str
    import_name: str
    dependencies: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]
    services: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Package:
        """Describe the package in folder ``path``."""
        document = tomllib.loads((path / "pyproject.toml").read_text("utf-8"))
        project, tool = document["project"], document.get("tool", {})
        wheel = tool["hatch"]["build"]["targets"]["wheel"]
        return cls(
            path=path,
            name=project["name"],
            version=project["version"],
            import_name=Path(wheel["packages"][0]).name,
            dependencies=tuple(project.get("dependencies", ())),
            extras={k: tuple(v) for k, v in project.get("optional-dependencies", {}).items()},
            groups={k: tuple(v) for k, v in document.get("dependency-groups", {}).items()},
            services=tuple(tool.get("proxystore", {}).get("services", ())),
        )

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` means this package: its name, or that without ``proxystore-``."""
        return name in {self.name, self.name.removeprefix("proxystore-"), self.path.name}

    @property
    def test_group(self) -> tuple[str, ...]:
        """What the tests need beside the package itself.

        Raises:
            LookupError: The package does not say.
        """
        if "test" not in self.groups:
            raise LookupError(f"{self.path}/pyproject.toml has no [dependency-groups] test.")
        return self.groups["test"]

    def declared(self) -> Iterator[Requirement]:
        """Requirements of the package and its tests, with those of extras that these name."""
        wanted = dict(self.extras)
        pending = [Requirement.parse(text) for text in (*self.dependencies, *self.test_group)]
        while pending:
            requirement = pending.pop(0)
            if requirement.name != self.name:
                yield requirement
                continue
            for extra in requirement.extras:
                pending += [Requirement.parse(text) for text in wanted.pop(extra, ())]


def closure(names: Iterable[str], known: Mapping[str, Package]) -> list[str]:
    """Those of ``names`` that are in ``known``, and all of them that these may need."""
    found: list[str] = []
    pending = [name for name in names if name in known]
    while pending:
        name = pending.pop()
        if name not in found:
            found.append(name)
            texts = [known[name].dependencies, *known[name].extras.values()]
            needed = [Requirement.parse(text).name for text in itertools.chain(*texts)]
            pending += [each for each in needed if each in known]
    return found


def packages() -> list[Package]:
    """Every package, in the order of their folders' names; templates are left out.

    Raises:
        FileNotFoundError: There is none, which would make every check succeed.
    """
    found = sorted((ROOT / "packages").glob("[!_]*/pyproject.toml"))
    if not found:
        raise FileNotFoundError(f"No packages/*/pyproject.toml under {ROOT}: nothing to check.")
    return [Package.read(path.parent) for path in found]
