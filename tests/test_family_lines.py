"""What one more family costs, in lines; `python -m bench parity` shows it as a table."""

from collections.abc import Callable

import pytest

import families

Record = Callable[[str, object], None]
A_DOZEN_OR_SO = 15


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_reader_is_about_a_dozen_lines(name: str, record_property: Record) -> None:
    reader, helpers = families.lines(families.FAMILIES[name])
    row = {"family": name, "reader": str(reader), "with its module's helpers": str(reader + helpers)}
    record_property("lines of code per family", row)
    assert reader <= A_DOZEN_OR_SO
