"""Times as Django's admin writes them: 24 hours, and the zone beside them."""

from __future__ import annotations

DATE_FORMAT, TIME_FORMAT = "j M Y", "H:i:s"
DATETIME_FORMAT = r"j M Y, H:i:s \U\T\C"
