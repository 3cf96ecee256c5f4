"""Kinds of cells: read, written, and what is wrong with them."""

import pytest

from ohmstead.fleet.onboarding.cells import Misread, connectors, written_connectors
from ohmstead.stations.models import Connector


class TestConnectors:
    @pytest.mark.parametrize("text", ["1:", "1:Type 2:AC:3:22 | 2:CCS:DC::150", "3::::7.4"])
    def test_they_are_written_as_they_are_read(self, text: str) -> None:
        rows = [Connector(charger_id="C", **one) for one in connectors(text)]
        assert written_connectors(rows) == text

    def test_a_number_alone_is_how_many_there_are(self) -> None:
        assert connectors("3") == 3

    @pytest.mark.parametrize("text", ["one:Type 2", "1:a:b:c:d:e", "1:x:AC:three", "1:x:AC:3:much"])
    def test_what_is_neither_is_told(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"no|form"):
            connectors(text)

    def test_all_that_is_wrong_is_told_and_the_rest_is_read(self) -> None:
        with pytest.raises(Misread) as misread:
            connectors("1:CCS:DC:three | none | 1:CCS | 2:Type 2:AC:3:much")
        assert misread.value.faults == [
            "'1:CCS:DC:three': 'three' is no whole number",
            "'none' is not of the form number:type:current:phases:kW",
            "'2:Type 2:AC:3:much': 'much' is no number",
            "connector 1 is named twice",
        ]
        assert [one["connector_id"] for one in misread.value.value] == [1, 1, 2]
