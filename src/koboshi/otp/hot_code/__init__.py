"""New code for running actors: of one, or of all whose class is in a module."""

from ._errors import UpgradeFailed
from ._module import upgrade_module
from ._upgrade import upgrade

__all__ = ["UpgradeFailed", "upgrade", "upgrade_module"]
