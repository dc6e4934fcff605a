"""Which engine does the work: the first of the wanted ones that has what it needs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from singscript_core.errors import EngineUnavailable, InvalidInput
from singscript_core.events import EngineChosen, Progress, Warned
from singscript_separator.engines import Engine, Ready, Split


class UnknownEngine(InvalidInput):
    """The request names an engine that this service does not have."""

    reason = "UNKNOWN_ENGINE"


def named(engines: Mapping[str, Engine], names: Sequence[str]) -> list[Engine]:
    """The engines of these names.

    Raises:
        UnknownEngine: there is none of that name.
    """
    for name in names:
        if name not in engines:
            raise UnknownEngine(f"There is no separation engine named '{name}'. Choose from: {', '.join(engines)}.")
    return [engines[name] for name in names]


def choose(
    wanted: Sequence[Engine], model: str, split: Split
) -> Generator[Progress | EngineChosen | Warned, None, Ready]:
    """Gets the first engine ready that can be; blocks while weights are looked for, fetched and loaded.

    Args:
        wanted: in order; at least one.
        model: empty for each engine's default.
    Yields:
        Bytes done while weights are downloaded; then the engine, a warning for each that was passed over, and the
        engine's own.
    Raises:
        EngineUnavailable: what the last one lacks; nothing comes after it.
    """
    passed_over: list[Warned] = []
    for engine in wanted:
        try:
            ready = yield from engine.ready(model or engine.default_model, split)
            break
        except EngineUnavailable as error:
            if engine is wanted[-1]:
                raise
            passed_over.append(Warned("ENGINE_FALLBACK", f"The engine {engine.name} was passed over. {error.message}"))
    else:
        raise AssertionError("no engine was named")
    yield ready.chosen
    yield from passed_over
    yield from ready.warnings
    return ready
