"""Weather (Elwell & Polikar 2011): NOAA's daily measurements 1949-1999, 18,159 days in order; does it rain?

68.6 % of days are dry; predicting the previous label scores .680.
"""

from environments.sources.table import named
from lab.protocols import Data


def weather(dir: str | None = None, standardise: str = "running") -> Data:
    """float32 features ``[N, 8]``, 2 classes, in order of time."""
    return named("weather", dir, standardise, "NOAA, Offutt Air Force Base, Bellevue, Nebraska")
