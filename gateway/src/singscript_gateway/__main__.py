"""Entry: `python -m singscript_gateway migrate|api|dispatcher|users|keys`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import psycopg
from pydantic import ValidationError
from uvicorn import Config

from singscript_core.errors import StageError
from singscript_core.logs import set_up_logging
from singscript_gateway import database, dispatcher
from singscript_gateway.api import server
from singscript_gateway.auth import command
from singscript_gateway.settings import ApiSettings, DatabaseSettings, DispatcherSettings
from singscript_serving import tls

logger = logging.getLogger("singscript_gateway")


def main() -> None:
    """Runs one process of the gateway; exits with 2 when its settings are wrong, with 1 when it cannot go on."""
    parser = argparse.ArgumentParser(prog="python -m singscript_gateway", description=__doc__)
    processes = parser.add_subparsers(dest="process", required=True)
    processes.add_parser("migrate", help="brings the database up to date")
    processes.add_parser("api", help="REST and server-sent events")
    processes.add_parser("dispatcher", help="works on jobs")
    command.add_arguments(processes)
    arguments = parser.parse_args()
    try:
        match arguments.process:
            case "migrate":
                _migrate(DatabaseSettings())  # pyright: ignore[reportCallIssue]  (filled from the environment)
            case "api":
                _api(ApiSettings())  # pyright: ignore[reportCallIssue]  (as above)
            case "users" | "keys":
                _administer(arguments, DatabaseSettings())  # pyright: ignore[reportCallIssue]  (as above)
            case _:
                _dispatch(DispatcherSettings())  # pyright: ignore[reportCallIssue]  (as above)
    except ValidationError as error:
        for problem in error.errors():
            name = "SINGSCRIPT_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
            print(f"{name}: {problem['msg']}".removeprefix(": "), file=sys.stderr)
        sys.exit(2)
    except (StageError, dispatcher.MigrationsMissing) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _migrate(settings: DatabaseSettings) -> None:
    set_up_logging("migrate", settings.log_level)
    applied = asyncio.run(database.migrate(settings.database_url))
    logger.info("the database is up to date", extra={"applied": applied})


def _api(settings: ApiSettings) -> None:
    set_up_logging("gateway", settings.log_level)
    # Refused here, and not when the first service is dialled.
    tls.identity()
    server.serve(settings)


def _administer(arguments: argparse.Namespace, settings: DatabaseSettings) -> None:
    try:
        asyncio.run(command.run(arguments, settings.database_url))
    except psycopg.OperationalError as error:
        print(f"The database does not answer: {str(error).strip()}", file=sys.stderr)
        sys.exit(1)
    except psycopg.errors.UndefinedTable:
        print("The database is not up to date. Run `python -m singscript_gateway migrate`.", file=sys.stderr)
        sys.exit(1)


def _dispatch(settings: DispatcherSettings) -> None:
    set_up_logging("dispatcher", settings.log_level)
    tls.identity()
    # As uvicorn has it for the API: the quicker loop where there is one.
    with asyncio.Runner(loop_factory=Config("").get_loop_factory()) as runner:
        runner.run(dispatcher.run(settings))


if __name__ == "__main__":
    main()
