"""Imports of the user's code, including modules with the same names as packages of posbake.

Many research repositories have packages named `models`, `export` or `service`, like posbake. While the user's code
runs, the entries of `sys.modules` under such names are the user's; afterwards posbake's entries are restored.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Self

from torch import nn

ROOT = Path(__file__).resolve().parents[2]
OURS = ("artifact", "benchmarks", "deploy", "engines", "examples", "export", "imaging", "models", "service", "tests")
"""posbake's top-level packages."""


class _Folder(Loader):
    """Loader of a folder without `__init__.py` as a package, as Python does, but without a `__file__` of None.

    torch uses `inspect`, which caches the file of each module name and fails if a later module of that name has none.
    """

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the package has no code."""


class UserModules(MetaPathFinder):
    """Context in which the user's modules precede posbake's of the same names; it can be nested.

    Args:
        folders: folders of the user's modules, in search order; they precede `sys.path` inside the context.
        hidden: names of posbake's packages that are the user's inside the context.
    """

    def __init__(self, folders: Iterable[Path], hidden: Iterable[str] = ()) -> None:
        self.folders = [str(folder) for folder in dict.fromkeys(folders)]
        self.hidden = frozenset(hidden)
        self._theirs: dict[str, ModuleType] = {}
        self._ours: dict[str, ModuleType] = {}
        self._their_path: list[str] | None = None
        self._our_path = sys.path
        self._depth = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a hidden name in the user's folders only; elsewhere, posbake's package would precede a plain folder."""
        if fullname.partition(".")[0] not in self.hidden:
            return None
        spec = PathFinder.find_spec(fullname, self.folders if path is None else path, target)
        if spec is None or spec.origin is not None:
            return spec
        folder = ModuleSpec(fullname, _Folder(), is_package=True)
        folder.submodule_search_locations = spec.submodule_search_locations
        return folder

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth == 1:
            self._ours = self._replace(self._theirs)
            self._our_path = sys.path
            if self._their_path is None:
                scripts = {str(ROOT / name) for name in OURS}  # `python export/to_onnx.py` puts export/ first
                self._their_path = [*self.folders, *(entry for entry in sys.path if entry not in scripts)]
            sys.path = self._their_path
            sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            sys.meta_path.remove(self)
            self._their_path, sys.path = sys.path, self._our_path
            # Entries that libraries add on their first import are not added again, so they are kept.
            sys.path += [entry for entry in self._their_path if entry not in {*sys.path, *self.folders}]
            self._theirs = self._replace(self._ours)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # copies of a network import the same modules

    def enter_around(self, network: nn.Module) -> None:
        """Enter the context in every forward of a network, which may import more modules."""
        network.register_forward_pre_hook(self._before, prepend=True)
        network.register_forward_hook(self._after, always_call=True)

    def _before(self, *_: object) -> None:
        self.__enter__()

    def _after(self, *_: object) -> None:
        self.__exit__()

    def _replace(self, modules: dict[str, ModuleType]) -> dict[str, ModuleType]:
        """Replace the modules under the hidden names by `modules`, and return the previous ones."""
        before: dict[str, ModuleType] = {}
        if self.hidden:  # otherwise thousands of names would be searched around each forward
            before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in self.hidden}
        for name in before:
            del sys.modules[name]
        sys.modules.update(modules)
        return before


def names_taken(folders: Iterable[Path]) -> list[str]:
    """Return the names of posbake's packages that are also modules or packages in `folders`."""
    places = [str(folder) for folder in folders]
    return [name for name in OURS if _is_theirs(name, PathFinder.find_spec(name, places))]


def _is_theirs(name: str, spec: ModuleSpec | None) -> bool:
    if spec is None:
        return False
    if spec.origin is not None:
        return Path(spec.origin).resolve().parent not in (ROOT, ROOT / name)
    # A folder without __init__.py is a package only if it contains Python files: `examples` may contain images.
    places = [Path(place).resolve() for place in spec.submodule_search_locations or ()]
    return any(place != ROOT / name and next(place.rglob("*.py"), None) is not None for place in places)
