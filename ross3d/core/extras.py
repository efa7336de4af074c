"""Optional packages, imported only where they are used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        module: the module to import, for example ``"diffusers"``.
        extra: the extra of ross3d that brings it, for example ``"vae"``.

    Returns:
        The imported module.

    Raises:
        ImportError: if the module cannot be imported; the message names the command that installs
            it.

    Example:
        >>> require("math", "mesh").sqrt(4.0)
        2.0
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"needs {package}: pip install 'ross3d[{extra}]' ({error})") from error
