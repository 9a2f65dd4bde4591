"""The user's own arrays."""

from environments.sources.common import QUALITY, data, folder, load
from lab.protocols import Data, UserError

KEY = "environment.source.path"


def arrays(path: str | None = None) -> Data:
    """An ``.npz`` with ``x_train, y_train, x_test, y_test``.

    Inputs ``[N, ...]`` are uint8 images, float features (precomputed by another network, say) or whole numbers, tokens;
    labels ``[N]`` are 0..C-1. Tokens ``[N, L]`` may have a label each, ``[N, L]``, with -100 where there is none.
    ``quality_train`` ``[N]``, if it is there, says how good each training example is, for curricula; higher is better.
    """
    file = folder(KEY, path)
    if file is None:
        raise UserError(f"{KEY}=null: expected an .npz file with x_train, y_train, x_test, y_test")
    return data(file.stem, load(file, KEY, optional=(QUALITY,)), f"{KEY}={file}")
