"""Runs the providers of dependencies and their clean-up, and keeps the values that outlive a call.

A worker imports this module only if its app uses `herder.Depends`. `dependencies` decides which providers run.
"""

# An interrupt is never raised in a frame of this file (see `signals.is_uninterruptible`), only in the frames of
# providers and handlers. So none can come between the `yield` of a generator and its entry in the list of what to clean
# up, nor between two clean-ups.

from __future__ import annotations

import inspect
from _thread import allocate_lock
from types import CoroutineType

from herder import error_frames, signals
from herder.call import calls
from herder.errors import Rejected
from herder.signatures import is_async, name_of, with_own_frame, wraps_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from herder.call import Calls
    from herder.session import Session

    Opened = list[tuple["Provider", Any]]  # the generators to resume, with their providers
    Supplied = tuple[tuple[str, int], ...]  # parameters, and the numbers of their values

creating = allocate_lock()  # held while a registry is created


class InvalidDependency(TypeError):
    """A dependency that cannot be supplied. The app is refused."""


class Provider:
    """A provider: how it is called, and what its own parameters need."""

    __slots__ = ("function", "is_async", "is_generator", "key", "name", "needs", "scope", "supplied")

    def __init__(self, function: Callable[..., Any], scope: str, key: Any) -> None:
        self.key = key  # by which the values that outlive a call are found
        self.name = name_of(function)
        self.scope = scope
        self.is_async = is_async(function)
        self.is_generator = is_generator(function)
        self.function = function if self.is_generator or self.is_async else with_own_frame(function)
        self.needs: tuple[tuple[str, Provider], ...] = ()
        self.supplied: Supplied = ()  # the parameters that get the call or the session

    def begin(self, arguments: dict[str, Any], opened: Opened) -> Any:
        """Return the value of a sync provider."""
        if not self.is_generator:
            return self.checked(self.function(**arguments))
        generator = self.function(**arguments)
        for value in generator:
            opened.append((self, generator))
            return self.checked(value)
        raise RuntimeError(f"the provider {self.name} ended without yielding a value")

    async def begin_async(self, arguments: dict[str, Any], opened: Opened) -> Any:
        """Return the value of an async provider."""
        if not self.is_generator:
            return self.checked(await self.function(**arguments))
        generator = self.function(**arguments)
        async for value in generator:
            opened.append((self, generator))  # only now: one that has raised must not be resumed
            return self.checked(value)
        raise RuntimeError(f"the provider {self.name} ended without yielding a value")

    def checked(self, value: Any) -> Any:
        """Return a value. Raises `TypeError` for a coroutine: nothing would await it."""
        if type(value) is not CoroutineType:
            return value
        value.close()
        if not self.is_async and wraps_async(self.function):
            reason = "since a decorator of this async function is not async; make its wrapper async, and await there"
        else:
            reason = "which nothing awaits; declare the provider with `async def`, and await the coroutine in it"
        raise TypeError(f"the provider {self.name} returned a coroutine, {reason}")


def is_generator(function: Any) -> bool:
    """Whether a provider yields its value. Raises `InvalidDependency` for one that `contextlib` has wrapped."""
    if any(map(_yields, (function, getattr(function, "func", None), type(function).__call__))):
        return True
    if _yields(getattr(function, "__wrapped__", None)):
        raise InvalidDependency(
            f"the provider {function.__qualname__} is wrapped, as by @contextmanager, and returns no value itself;"
            " remove the decorator: the clean-up of a generator function runs after the call"
        )
    return False


def _yields(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def clean_up(provider: Provider, generator: Any, error: BaseException | None) -> BaseException | None:
    """Resume a generator after the call, with the error of the call if it has one. Return the error of the call.

    A generator that catches the error does not hide it: the call has no result. One that raises replaces it.
    """
    traceback = None if error is None else error.__traceback__
    try:
        if error is None:
            for _ in generator:  # its end is no exception, as that of `next` would be
                refuse_value(provider, generator)
        else:
            generator.throw(error)
            refuse_value(provider, generator)
    except StopIteration:
        return restored(error, traceback)
    except BaseException as raised:
        return settled(provider, raised, error, traceback)
    return None


async def clean_up_in_loop(provider: Provider, generator: Any, error: BaseException | None) -> BaseException | None:
    """Do the same for a generator of either kind."""
    if not provider.is_async:
        return clean_up(provider, generator, error)
    traceback = None if error is None else error.__traceback__
    try:
        await (generator.__anext__() if error is None else generator.athrow(error))
        await refuse_value_async(provider, generator)
    except StopAsyncIteration:
        return restored(error, traceback)
    except GeneratorExit:
        raise
    except BaseException as raised:
        return settled(provider, raised, error, traceback)
    return None


def refuse_value(provider: Provider, generator: Any) -> None:
    """Close a generator that does not end after its value. Raises `RuntimeError`."""
    try:
        raise yielded_again(provider)
    finally:
        generator.close()


async def refuse_value_async(provider: Provider, generator: Any) -> None:
    """Do the same for an async generator."""
    try:
        raise yielded_again(provider)
    finally:
        await generator.aclose()


def yielded_again(provider: Provider) -> RuntimeError:
    """Return the error of a generator that does not end after its value."""
    return RuntimeError(f"the provider {provider.name} yielded a second time; it must yield once")


def restored(error: BaseException | None, traceback: Any) -> BaseException | None:
    """Remove the frames of a generator from the traceback of the error that it was resumed with."""
    if error is not None:
        BaseException.with_traceback(error, traceback)
    return error


def settled(
    provider: Provider, raised: BaseException, error: BaseException | None, traceback: Any
) -> BaseException | None:
    """Return the error of the call after a clean-up has raised an exception. Log it, unless it is deliberate."""
    stops = isinstance(error, (StopIteration, StopAsyncIteration)) and raised.__cause__ is error
    if raised is error or stops:  # Python raises a RuntimeError for the former
        return restored(error, traceback)
    if isinstance(raised, Exception) and not isinstance(raised, Rejected):
        text = error_frames.format_traceback(raised)
        error_frames.log(f"herder: the clean-up of the dependency {provider.name} raised an exception:\n{text}")
    return raised


class Instances:
    """The values that outlive a call: those of the worker, or those of one session."""

    __slots__ = ("async_lock", "lock", "loop", "opened", "values")

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.opened: Opened = []
        self.lock = allocate_lock()  # handlers may run in threads
        self.loop: Any = None
        self.async_lock: Any = None  # of `loop`

    def get(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        """Return the value of a sync provider; create it if necessary. If that raises, the next call tries again."""
        if provider.key in self.values:
            return self.values[provider.key]
        with self.lock:
            if provider.key not in self.values:
                opened: Opened = []
                self.values[provider.key] = provider.begin(arguments, opened)
                self.opened += opened
            return self.values[provider.key]

    async def get_async(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        """Do the same for an async provider."""
        if provider.key in self.values:
            return self.values[provider.key]
        import asyncio  # loaded in every worker with async providers

        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop, self.async_lock = loop, asyncio.Lock()
        async with self.async_lock:
            if provider.key not in self.values:
                opened: Opened = []
                self.values[provider.key] = await provider.begin_async(arguments, opened)
                self.opened += opened
            return self.values[provider.key]


def raise_limit(error: BaseException | None) -> None:
    """Raise `HookTimeout`, or the cancel of an async hook, so that the hook is reported as such."""
    if error is not None and not isinstance(error, Exception):
        raise error


class Registry:
    """The values of one worker that outlive a call."""

    __slots__ = ("sessions", "worker")

    def __init__(self) -> None:
        self.worker = Instances()
        self.sessions: dict[tuple[str, int], Instances] = {}  # by id and epoch

    def of_session(self, session: Session) -> Instances:
        """Return the values of a session."""
        session._sessions.dependencies = self
        return self.sessions.setdefault((session.id, session._epoch), Instances())  # atomic, for handlers in threads

    def take_newest(self, session: Session) -> Opened:
        """Remove and return the newest value of an ended session that must be cleaned up, if there is one."""
        key = (session.id, session._epoch)
        instances = self.sessions.get(key)
        newest = instances.opened[-1:] if instances is not None else []
        if instances is not None:
            del instances.opened[-1:]
            if not instances.opened:  # the host ends each epoch of which it has sent a call
                del self.sessions[key]
        return newest

    def take_all(self) -> Opened:
        """Remove and return everything: sessions last, since their values may need those of the worker."""
        everything = [each for kept in (self.worker, *self.sessions.values()) for each in kept.opened]
        self.sessions, self.worker = {}, Instances()
        return everything


def registry_of(calls: Calls) -> Registry:
    """Return the registry of a worker, or of a `herder.testing.Client`."""
    if calls.dependencies is None:
        with creating:
            if calls.dependencies is None:
                calls.dependencies = Registry()
    return calls.dependencies


def close(opened: Opened) -> None:
    """Clean up in reverse order. Exceptions are logged; the last one of a time limit is raised."""
    error: BaseException | None = None
    while opened:
        error = clean_up(*opened.pop(), None) or error
    raise_limit(error)


async def close_in_loop(opened: Opened) -> None:
    """Do the same if there are async providers."""
    error: BaseException | None = None
    while opened:
        error = await clean_up_in_loop(*opened.pop(), None) or error
    raise_limit(error)


def newest_of(session: Session) -> Opened:
    """Remove and return the newest value of an ended session that must be cleaned up, if there is one."""
    registry = session._sessions.dependencies
    return [] if registry is None else registry.take_newest(session)


def end_session(session: Session, _reason: str) -> None:
    """Clean up one value of a session. The last `on_session_end` hooks of an app are this one, for each such value.

    So each clean-up has a time limit of its own, after which it is interrupted.
    """
    close(newest_of(session))


async def end_session_async(session: Session, _reason: str) -> None:
    """Do the same if a provider is async."""
    await close_in_loop(newest_of(session))


def stop(calls: Calls = calls) -> None:
    """Clean up all values. This is the first `on_stop` hook to run in an app with values that outlive a call."""
    close([] if calls.dependencies is None else calls.dependencies.take_all())


async def stop_async(calls: Calls = calls) -> None:
    """Do the same if a provider is async."""
    await close_in_loop([] if calls.dependencies is None else calls.dependencies.take_all())


signals.protected_files.add(clean_up.__code__.co_filename)
