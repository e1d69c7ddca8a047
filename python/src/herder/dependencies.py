"""Compiles the dependencies of commands when the app is loaded, and runs their providers in each call.

Imported only if the app uses `herder.Depends`. `Compiler` makes a `Plan` for each command: its providers in the order
in which they run. A plan wraps the handler, so the loops know nothing of dependencies: providers and clean-up belong to
the run of the handler, with its context, its deadline and its interrupts.
"""

# An interrupt is never raised in a frame of this file (see `signals.is_uninterruptible`), only in the frames of
# providers and handlers. So none can come between the begin of a generator and its entry in the list of what to clean
# up, nor between two clean-ups.

from __future__ import annotations

import inspect

from herder import error_frames, signals
from herder.annotations import includes
from herder.binding import is_async, read_parameters, with_own_frame
from herder.call import Call
from herder.errors import Rejected
from herder.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from herder.binding import Parameters
    from herder.depends import Dependency

    Opened = list[tuple["Provider", Any]]  # the generators to resume, with their providers
    Needs = tuple[tuple[str, int], ...]  # the parameters that are supplied, and the numbers of their values

# The numbers of the values that are not those of providers; a provider's is its place in the plan.
CALL, SESSION = -1, -2
# Where the loops put the call and the session for providers if the handler has no such parameter. No argument of a call
# is mistaken for them, since the names of injected parameters are refused.
CALL_PARAMETER, SESSION_PARAMETER = "<call>", "<session>"


class InvalidDependency(TypeError):
    """A dependency that cannot be supplied. The app is refused."""


class Provider:
    """A provider: how it is called, and what its own parameters need."""

    __slots__ = ("function", "is_async", "is_generator", "name", "needs", "scope", "supplied")

    def __init__(self, function: Callable[..., Any], scope: str) -> None:
        self.name = getattr(function, "__qualname__", None) or repr(function)
        self.scope = scope
        self.is_async = is_async(function)
        self.is_generator = is_generator(function)
        self.function = function if self.is_generator or self.is_async else with_own_frame(function)
        self.needs: tuple[tuple[str, Provider], ...] = ()
        self.supplied: Needs = ()  # the parameters that get the call or the session

    def begin(self, arguments: dict[str, Any], opened: Opened) -> Any:
        """Return the value of a sync provider."""
        if not self.is_generator:
            return self.function(**arguments)
        generator = self.function(**arguments)
        opened.append((self, generator))
        for value in generator:
            return value
        raise RuntimeError(f"the provider {self.name} ended without yielding a value")

    async def begin_async(self, arguments: dict[str, Any], opened: Opened) -> Any:
        """Return the value of an async provider."""
        if not self.is_generator:
            return await self.function(**arguments)
        generator = self.function(**arguments)
        opened.append((self, generator))
        async for value in generator:
            return value
        raise RuntimeError(f"the provider {self.name} ended without yielding a value")


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


class Plan:
    """The dependencies of one command: the providers in the order in which they run."""

    def __init__(self, needs: tuple[tuple[str, Provider], ...]) -> None:
        self.providers: list[Provider] = []
        for _, provider in needs:
            self._add(provider)
        self.steps = tuple((provider, self._needs_of(provider)) for provider in self.providers)
        self.parameters: Needs = tuple((name, self.providers.index(provider)) for name, provider in needs)
        self.is_async = any(provider.is_async for provider in self.providers)
        supplied = {number for provider in self.providers for _, number in provider.supplied}
        self.needs_call, self.needs_session = CALL in supplied, SESSION in supplied

    def _add(self, provider: Provider) -> None:
        for _, inner in provider.needs:
            self._add(inner)
        if provider not in self.providers:
            self.providers.append(provider)

    def _needs_of(self, provider: Provider) -> Needs:
        return (*((name, self.providers.index(inner)) for name, inner in provider.needs), *provider.supplied)

    def wrap(
        self, function: Callable[..., Any], is_async: bool, call_parameter: str | None, session_parameter: str | None
    ) -> Callable[..., Any]:
        """Return a function that runs the providers, calls the handler `function` with their values, and cleans up.

        It takes the arguments of the handler that are no dependencies, and the call and the session under the given
        names.
        """
        supplied = {CALL: call_parameter, SESSION: session_parameter}
        # Those that the handler does not have are removed from its arguments.
        hidden = [name for name in (CALL_PARAMETER, SESSION_PARAMETER) if name in supplied.values()]
        steps, parameters = self.steps, self.parameters

        def start(arguments: dict[str, Any]) -> dict[int, Any]:
            values = {number: arguments[name] for number, name in supplied.items() if name is not None}
            for name in hidden:
                del arguments[name]
            return values

        def call(**arguments: Any) -> Any:
            result: Any = None
            error: BaseException | None = None
            opened: Opened = []
            try:
                values = start(arguments)
                for number, (provider, needs) in enumerate(steps):
                    values[number] = provider.begin({name: values[each] for name, each in needs}, opened)
                for name, each in parameters:
                    arguments[name] = values[each]
                result = function(**arguments)
            except BaseException as raised:
                error = raised
            while opened:
                error = clean_up(*opened.pop(), error)
            if error is None:
                return result
            try:
                raise error
            finally:
                error = None  # its traceback refers to this frame: a cycle otherwise

        async def call_async(**arguments: Any) -> Any:
            result: Any = None
            error: BaseException | None = None
            opened: Opened = []
            try:
                values = start(arguments)
                for number, (provider, needs) in enumerate(steps):
                    given = {name: values[each] for name, each in needs}
                    if provider.is_async:
                        values[number] = await provider.begin_async(given, opened)
                    else:
                        values[number] = provider.begin(given, opened)
                for name, each in parameters:
                    arguments[name] = values[each]
                result = function(**arguments)
                if is_async:
                    result = await result
            except GeneratorExit:  # the event loop is closed: nothing can be awaited any more
                raise
            except BaseException as raised:
                error = raised
            while opened:
                provider, generator = opened.pop()
                if provider.is_async:
                    error = await clean_up_async(provider, generator, error)
                else:
                    error = clean_up(provider, generator, error)
            if error is None:
                return result
            try:
                raise error
            finally:
                error = None  # as above

        return call_async if is_async or self.is_async else call


def clean_up(provider: Provider, generator: Any, error: BaseException | None) -> BaseException | None:
    """Resume a generator after the call, with the error of the call if it has one. Return the error of the call.

    A generator that catches the error does not hide it: the call has no result. One that raises replaces it.
    """
    traceback = None if error is None else error.__traceback__
    try:
        if error is None:
            for _ in generator:
                raise yielded_again(provider)
        else:
            generator.throw(error)
            raise yielded_again(provider)
    except StopIteration:
        return restored(error, traceback)
    except BaseException as raised:
        return settled(provider, raised, error, traceback)
    return None


async def clean_up_async(provider: Provider, generator: Any, error: BaseException | None) -> BaseException | None:
    """Do the same as `clean_up` for an async generator."""
    traceback = None if error is None else error.__traceback__
    try:
        if error is None:
            async for _ in generator:
                raise yielded_again(provider)
        else:
            await generator.athrow(error)
            raise yielded_again(provider)
    except StopAsyncIteration:
        return restored(error, traceback)
    except GeneratorExit:
        raise
    except BaseException as raised:
        return settled(provider, raised, error, traceback)
    return None


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


class Compiler:
    """Makes the plans of an app's commands, which share their providers."""

    def __init__(self, overrides: Mapping[Any, Callable[..., Any]]) -> None:
        self.overrides = overrides
        self.providers: dict[Any, Provider] = {}
        self.path: list[tuple[Any, str]] = []  # the providers that are being compiled: keys and names

    def plan(self, parameters: Parameters) -> Plan:
        """Return the plan of a command. Raises `InvalidDependency`."""
        return Plan(self.needs(parameters))

    def needs(self, parameters: Parameters) -> tuple[tuple[str, Provider], ...]:
        """Return the provider of each parameter that is a dependency."""
        return tuple((name, self.provider(dependency)) for name, dependency in parameters.dependencies.items())

    def provider(self, dependency: Dependency) -> Provider:
        """Return the compiled provider of a dependency."""
        original = dependency.provider
        assert original is not None
        function = self.overrides.get(original, original) if _has_hash(original) else original
        key = (function if _has_hash(function) else id(function), dependency.scope)
        if dependency.use_cache and key in self.providers:
            return self.providers[key]
        self.refuse_cycle(key, function)
        self.path.append((key, _name(function)))
        provider = self.compile(function, dependency.scope)
        del self.path[-1]
        if dependency.use_cache:
            self.providers[key] = provider
        return provider

    def refuse_cycle(self, key: Any, function: Any) -> None:
        """Raise `InvalidDependency` if the provider is being compiled: it would need its own value."""
        keys = [each for each, _ in self.path]
        if key in keys:
            names = [name for _, name in self.path[keys.index(key) :]]
            raise InvalidDependency(f"a dependency needs itself: {' -> '.join([*names, _name(function)])}")

    def compile(self, function: Any, scope: str) -> Provider:
        """Compile a provider and what it needs."""
        try:
            parameters = read_parameters(function)
        except (TypeError, ValueError) as error:  # no signature, as some builtins
            raise InvalidDependency(f"{self.where()}: {error}; wrap it in a function") from None
        provider = Provider(function, scope)
        for name, annotation in parameters.names.items():
            if includes(annotation, Call):
                provider.supplied += ((name, CALL),)
            elif includes(annotation, Session):
                provider.supplied += ((name, SESSION),)
            elif name not in parameters.defaults:
                raise InvalidDependency(
                    f"{self.where()}: nothing supplies the parameter `{name}`; give it a default, or annotate it with"
                    " herder.Depends, herder.Call or herder.Session. Only handlers get the arguments of a call"
                )
        provider.needs = self.needs(parameters)
        return provider

    def where(self) -> str:
        """Return the path to the provider that is being compiled."""
        return f"provider {' -> '.join(name for _, name in self.path)}"


def _has_hash(function: Any) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


signals.protected_files.add(clean_up.__code__.co_filename)
