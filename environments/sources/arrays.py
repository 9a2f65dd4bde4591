"""The user's own arrays."""

from pathlib import Path

from environments.sources.common import data, load
from lab.protocols import Data, UserError


def arrays(path: str | None = None) -> Data:
    """An ``.npz`` with ``x_train, y_train, x_test, y_test``: uint8 images, float features or integer tokens, of any shape."""
    if path is None:
        raise UserError("environment.source.path=null: expected an .npz file with x_train, y_train, x_test, y_test")
    file = Path(path).expanduser()
    return data(file.stem, load(file), str(file))
