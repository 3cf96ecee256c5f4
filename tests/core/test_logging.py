"""The application's log: one line of JSON for each record, and no secrets in it."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from structlog.typing import Processor

from ohmstead.core.config import Settings
from ohmstead.core.logging import MASKED, QUIET, Open, setup_logging

Records = Callable[[], list[dict[str, Any]]]
SetUp = Callable[..., None]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave the logging of the other tests alone."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    quiet = {
        name: (one.handlers, one.propagate, one.level) for name in QUIET if (one := logging.getLogger(name))
    }
    yield
    root.handlers, root.level = handlers, level
    for name, (kept, propagate, before) in quiet.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = kept, propagate
        logger.setLevel(before)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Stderr(io.StringIO):
    """Standard error, as a file or as a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        """What was written since the last call."""
        written = self.getvalue()
        self.seek(0)
        self.truncate()
        return written


@pytest.fixture
def stderr() -> Stderr:
    return Stderr()


@pytest.fixture
def set_up(stderr: Stderr) -> SetUp:
    """Set the log up with settings of the test's own, onto its standard error."""

    def set_up(tail: Processor | None = None, **settings: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:  # pytest puts its own back between the phases of a test
            patch.setattr(sys, "stderr", stderr)
            setup_logging(Settings.load(**settings), tail)

    return set_up


@pytest.fixture
def records(stderr: Stderr, set_up: SetUp) -> Records:
    """Write JSON from here on; returns what was written, one record for each line."""
    set_up(log_format="json", log_level="INFO")

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in stderr.text().splitlines()]

    return read


class TestJson:
    def test_a_record_is_one_line_with_time_level_and_logger(self, records: Records) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info("thing.happened", number=7, text="two\nlines")
        (record,) = records()
        assert (record["event"], record["number"], record["text"]) == ("thing.happened", 7, "two\nlines")
        assert (record["level"], record["logger"]) == ("info", "ohmstead.test")
        assert record["timestamp"].endswith("Z")

    def test_an_exception_is_in_that_line_too(self, records: Records) -> None:
        try:
            raise ValueError("of two\nlines")
        except ValueError:
            structlog.stdlib.get_logger("ohmstead.test").exception("went.wrong")
        (record,) = records()
        assert record["level"] == "error"
        assert "ValueError: of two\nlines" in record["exception"]

    def test_records_of_libraries_go_the_same_way(self, records: Records) -> None:
        logging.getLogger("some.library").warning("the %s is %d", "answer", 42)
        (record,) = records()
        assert (record["event"], record["level"], record["logger"]) == (
            "the answer is 42",
            "warning",
            "some.library",
        )

    def test_what_is_bound_is_in_every_record_below_it(self, records: Records) -> None:
        structlog.contextvars.bind_contextvars(request_id="r1", charger_id="CP-1")
        structlog.stdlib.get_logger("ohmstead.test").info("one")
        logging.getLogger("some.library").warning("two")
        assert [(one["request_id"], one["charger_id"]) for one in records()] == [("r1", "CP-1")] * 2

    @pytest.mark.parametrize("value", ["\x1b[31mred", "a\r\nb", "ü", "\ud800", b"bytes", object(), {1: 2}])
    def test_whatever_is_logged_stays_one_line(self, records: Records, value: Any) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info("odd", value=value)
        assert len(records()) == 1


class TestSecrets:
    @pytest.mark.parametrize(
        "name",
        ["password", "new_password", "Authorization", "secret_key", "Cookie", "access_token", "api_key"],
    )
    def test_what_is_named_like_one_is_hidden(self, records: Records, name: str) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info("told", **{name: "hunter2"})
        (record,) = records()
        assert record[name] == MASKED

    @pytest.mark.parametrize(
        "text",
        [
            "postgresql://me:hunter2@db/ohmstead is away",
            "redis://:hunter2@cache:6379/0",
            '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2"}]',
            "GET /path?token=hunter2 HTTP/1.1",
        ],
    )
    def test_those_inside_of_texts_are_hidden(self, records: Records, text: str) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info("told", text=text)
        structlog.stdlib.get_logger("ohmstead.test").info(text)
        logging.getLogger("some.library").warning("it says %s", text)
        written = records()
        assert len(written) == 3
        assert "hunter2" not in str(written)

    def test_those_in_the_text_of_an_exception_are_hidden(self, records: Records) -> None:
        try:
            raise ConnectionError("cannot reach postgresql://me:hunter2@db/ohmstead")
        except ConnectionError:
            structlog.stdlib.get_logger("ohmstead.test").exception("database.away")
        (record,) = records()
        assert "hunter2" not in str(record)
        assert "ConnectionError" in record["exception"]

    def test_those_in_members_of_members_are_hidden(self, records: Records) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info(
            "told", payload={"password": "hunter2", "list": [{"url": "ftp://me:hunter2@host/x"}]}
        )
        assert "hunter2" not in str(records())

    def test_what_somebody_is_to_read_is_open_and_nothing_else_of_its_record(self, records: Records) -> None:
        text = Open("https://volt.example/reset-password/hunter2?token=hunter2")
        structlog.stdlib.get_logger("ohmstead.test").info("told", text=text, other=str(text))
        (record,) = records()
        assert record["text"] == text
        assert "token=hunter2" not in record["other"]


class TestForms:
    def test_on_a_terminal_it_is_for_people(self, stderr: Stderr, set_up: SetUp) -> None:
        stderr.terminal = True
        set_up(log_format="auto")
        structlog.stdlib.get_logger("ohmstead.test").info("thing.happened", password="hunter2")
        said = stderr.text()
        assert "thing.happened" in said
        try:
            raise ConnectionError("postgresql://me:hunter2@db/ohmstead")
        except ConnectionError:
            structlog.stdlib.get_logger("ohmstead.test").exception("went.wrong")
        said += stderr.text()
        assert "ConnectionError" in said
        assert "hunter2" not in said
        assert not said.startswith("{")

    def test_in_a_file_it_is_json(self, stderr: Stderr, set_up: SetUp) -> None:
        set_up(log_format="auto")
        structlog.stdlib.get_logger("ohmstead.test").info("thing.happened")
        assert json.loads(stderr.text())["event"] == "thing.happened"

    def test_nothing_goes_to_standard_output(
        self, records: Records, capsys: pytest.CaptureFixture[str]
    ) -> None:
        structlog.stdlib.get_logger("ohmstead.test").info("thing.happened")
        assert capsys.readouterr().out == ""

    def test_below_the_level_nothing_is_written(self, stderr: Stderr, set_up: SetUp) -> None:
        set_up(log_format="json", log_level="WARNING")
        structlog.stdlib.get_logger("ohmstead.test").info("quiet")
        logging.getLogger("uvicorn.error").info("quiet")
        assert stderr.text() == ""

    @pytest.mark.parametrize("name", QUIET)
    def test_libraries_that_talk_much_are_heard_from_warnings_on(self, records: Records, name: str) -> None:
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
        assert [one["event"] for one in records()] == ["trouble"]

    def test_setting_it_up_twice_writes_once(self, records: Records, set_up: SetUp) -> None:
        set_up(log_format="json")
        structlog.stdlib.get_logger("ohmstead.test").info("once")
        assert len(records()) == 1

    def test_the_tail_sees_each_record_after_it_was_masked(self, set_up: SetUp) -> None:
        seen: list[dict[str, Any]] = []

        def tail(_: Any, __: str, record: Any) -> Any:
            seen.append(dict(record))
            return record

        set_up(tail, log_format="json")
        structlog.stdlib.get_logger("ohmstead.test").info("one", password="hunter2")
        logging.getLogger("some.library").warning("two")
        assert [record["event"] for record in seen] == ["one", "two"]
        assert "hunter2" not in str(seen)
