"""Sources of samples, packed splits, and augmentation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame as Table
else:
    Table = Any  # for annotations; importing pandas takes a third of a second
