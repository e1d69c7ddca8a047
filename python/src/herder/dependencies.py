"""Compiles the dependencies of commands when the app is loaded.

A worker imports this module only if its app uses `herder.Depends`. `Compiler` makes a `Plan` for each command: its
providers in the order in which they run. A plan wraps the handler, so the loops know nothing of dependencies: providers
and clean-up belong to the run of the handler, with its context, its deadline and its interrupts.
"""

# As in `dependency_values`, no interrupt is raised in a frame of this file.

from __future__ import annotations

import inspect
from contextvars import copy_context
from types import coroutine

from herder import signals
from herder.annotations import includes, unknown_part
from herder.call import Call
from herder.dependency_values import (
    InvalidDependency,
    Provider,
    clean_up,
    clean_up_in_loop,
    end_session,
    end_session_async,
    registry_of,
    stop,
    stop_async,
)
from herder.session import Session
from herder.signatures import name_of, read_parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from contextvars import Context
    from typing import Any

    from herder.dependency_values import Instances, Opened, Supplied
    from herder.depends import Dependency
    from herder.signatures import Parameters

    Outcome = tuple[Any, BaseException | None]  # the result or the error of a handler, after all clean-ups

# How long values are kept: a provider may need only what lives at least as long as its own value.
LIFETIMES = {"call": 0, "session": 1, "worker": 2}
# The numbers of the values that are not those of providers; a provider's is its place in the plan.
CALL, SESSION = -1, -2
LIFETIMES_OF_SUPPLIED = {CALL: 0, SESSION: 1}
# Where the loops put the call and the session for providers if the handler has no such parameter. No argument of a call
# is mistaken for them, since the names of injected parameters are refused.
CALL_PARAMETER, SESSION_PARAMETER = "<call>", "<session>"


class Plan:
    """The dependencies of one command: the providers in the order in which they run."""

    def __init__(self, needs: tuple[tuple[str, Provider], ...]) -> None:
        self.providers: list[Provider] = []
        for _, provider in needs:
            self._add(provider)
        self.steps = tuple((provider, self._needs_of(provider)) for provider in self.providers)
        self.parameters: Supplied = tuple((name, self.providers.index(provider)) for name, provider in needs)
        self.is_async = any(provider.is_async for provider in self.providers)
        supplied = {number for provider in self.providers for _, number in provider.supplied}
        scopes = {provider.scope for provider in self.providers}
        self.needs_session = SESSION in supplied or "session" in scopes
        self.needs_call = CALL in supplied or scopes != {"call"}  # it leads to the values that outlive a call

    def _add(self, provider: Provider) -> None:
        if provider not in self.providers:  # its own needs then come before it
            for _, inner in provider.needs:
                self._add(inner)
            self.providers.append(provider)

    def _needs_of(self, provider: Provider) -> Supplied:
        return (*((name, self.providers.index(inner)) for name, inner in provider.needs), *provider.supplied)

    def wrap(
        self,
        function: Callable[..., Any],
        is_async: bool,
        awaits: bool,
        call_parameter: str | None,
        session_parameter: str | None,
    ) -> Callable[..., Any]:
        """Return a function that runs the providers, calls the handler `function` with their values, and cleans up.

        It takes the arguments of the handler that are no dependencies, and the call and the session under the given
        names. `awaits`: the handler is not async, but may return a coroutine. Then the function may do so too.
        """
        start = self.supplier(call_parameter, session_parameter)
        steps, parameters = self.steps, self.parameters
        in_loop = is_async or self.is_async

        # `run` could also do this. But a coroutine would make each call of a sync handler slower by a microsecond.
        def call(**arguments: Any) -> Any:
            result: Any = None
            error: BaseException | None = None
            opened: Opened = []
            try:
                values = start(arguments)
                for number, (provider, needs) in enumerate(steps):
                    values[number] = value_of(provider, needs, values, opened)
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

        async def run(arguments: dict[str, Any]) -> Outcome:
            result: Any = None
            error: BaseException | None = None
            opened: Opened = []
            try:
                values = start(arguments)
                for number, (provider, needs) in enumerate(steps):
                    if provider.is_async:
                        values[number] = await value_of_async(provider, needs, values, opened)
                    else:
                        values[number] = value_of(provider, needs, values, opened)
                for name, each in parameters:
                    arguments[name] = values[each]
                result = function(**arguments)
                if is_async:
                    result = await result
                elif awaits and inspect.isawaitable(result):
                    if not in_loop:
                        await wait_for_loop()
                    result = await result
            except GeneratorExit:  # the event loop is closed: nothing can be awaited any more
                raise
            except BaseException as raised:
                error = raised
            while opened:
                error = await clean_up_in_loop(*opened.pop(), error)
            try:
                # Not raised: in a coroutine, `StopIteration` would become another exception.
                return (result, None) if error is None else (None, error)
            finally:
                error = None  # as above

        def call_awaiting(**arguments: Any) -> Any:
            context, running = copy_context(), run(arguments)
            try:
                context.run(running.send, None)
            except StopIteration as done:
                outcome = done.value
            else:
                return continue_in_loop(running, context)
            try:
                return result_of(outcome)
            finally:
                outcome = None  # as above

        async def call_async(**arguments: Any) -> Any:
            return result_of(await run(arguments))

        return call_async if in_loop else call_awaiting if awaits else call

    def supplier(
        self, call_parameter: str | None, session_parameter: str | None
    ) -> Callable[[dict[str, Any]], dict[int, Any]]:
        """Return a function that takes the call and the session from arguments, for the providers."""
        supplied = {CALL: call_parameter, SESSION: session_parameter}
        # Those that the handler does not have are removed from its arguments.
        hidden = [name for name in (CALL_PARAMETER, SESSION_PARAMETER) if name in supplied.values()]

        def take(arguments: dict[str, Any]) -> dict[int, Any]:
            values = {number: arguments[name] for number, name in supplied.items() if name is not None}
            for name in hidden:
                del arguments[name]
            return values

        return take


def value_of(provider: Provider, needs: Supplied, values: dict[int, Any], opened: Opened) -> Any:
    """Return the value of a sync provider, from those that it needs."""
    given = {name: values[each] for name, each in needs}
    if provider.scope == "call":
        return provider.begin(given, opened)
    return instances(provider, values).get(provider, given)


async def value_of_async(provider: Provider, needs: Supplied, values: dict[int, Any], opened: Opened) -> Any:
    """Return the value of an async provider."""
    given = {name: values[each] for name, each in needs}
    if provider.scope == "call":
        return await provider.begin_async(given, opened)
    return await instances(provider, values).get_async(provider, given)


def result_of(outcome: Outcome) -> Any:
    """Return the result of a handler, or raise its error."""
    result, error = outcome
    if error is None:
        return result
    try:
        raise error
    finally:
        del outcome, error  # as above


@coroutine
def wait_for_loop() -> Generator[None, None, None]:
    """Wait until `continue_in_loop` runs."""
    yield


async def continue_in_loop(running: Coroutine[Any, Any, Outcome], context: Context) -> Any:
    """Run the rest of a handler that has returned a coroutine, and of its dependencies, in the event loop."""
    return result_of(await run_in_context(running, context))


@coroutine
def run_in_context(running: Coroutine[Any, Any, Outcome], context: Context) -> Generator[Any, Any, Outcome]:
    """Await a coroutine in `context`. The providers have begun there, and may reset context variables at the end."""
    step: Callable[[Any], Any] = running.send
    value: Any = None
    while True:
        try:
            awaited = context.run(step, value)
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome
        try:
            value = yield awaited
            step = running.send
        except BaseException as error:
            value = error
            step = running.throw


def instances(provider: Provider, values: dict[int, Any]) -> Instances:
    """Return where the value of a provider is kept that outlives the call."""
    registry = registry_of(values[CALL]._calls)
    return registry.worker if provider.scope == "worker" else registry.of_session(values[SESSION])


class Compiler:
    """Makes the plans of an app's commands, which share their providers."""

    def __init__(self, overrides: Mapping[Any, Callable[..., Any]]) -> None:
        self.overrides = overrides
        self.providers: dict[Any, Provider] = {}
        self.kept: list[Provider] = []  # those whose values outlive a call
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
        reason = unknown_part(original)
        if reason is not None:  # the annotation is a string; without the provider, a check would not run
            raise InvalidDependency(f"{f'{self.where()}: ' if self.path else ''}the provider {reason}")
        function = self.overrides.get(original, original) if _has_hash(original) else original
        key = (function if _has_hash(function) else id(function), dependency.scope)
        if dependency.use_cache and key in self.providers:
            return self.providers[key]
        self.refuse_cycle(key, function)
        self.path.append((key, name_of(function)))
        provider = self.compile(function, dependency.scope, key)
        del self.path[-1]
        if dependency.scope != "call":
            self.kept.append(provider)
        if dependency.use_cache:
            self.providers[key] = provider
        return provider

    def refuse_cycle(self, key: Any, function: Any) -> None:
        """Raise `InvalidDependency` if the provider is being compiled: it would need its own value."""
        keys = [each for each, _ in self.path]
        if key in keys:
            names = [name for _, name in self.path[keys.index(key) :]]
            raise InvalidDependency(f"a dependency needs itself: {' -> '.join([*names, name_of(function)])}")

    def compile(self, function: Any, scope: str, key: Any) -> Provider:
        """Compile a provider and what it needs."""
        try:
            parameters = read_parameters(function)
        except TypeError as error:
            raise InvalidDependency(f"{self.where()}: {error}") from None
        provider = Provider(function, scope, key)
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
        for name, number in provider.supplied:
            if LIFETIMES_OF_SUPPLIED[number] < LIFETIMES[scope]:
                what = "the session" if number == SESSION else "the call"
                raise InvalidDependency(f"{self.where()}: a value with scope={scope!r} outlives {what} (`{name}`)")
        provider.needs = self.needs(parameters)
        for name, inner in provider.needs:
            if LIFETIMES[inner.scope] < LIFETIMES[scope]:
                raise InvalidDependency(
                    f"{self.where()}: a value with scope={scope!r} outlives that of its parameter `{name}`, which has"
                    f" scope={inner.scope!r}; write herder.Depends({inner.name}, scope={scope!r})"
                )
        return provider

    def add_hooks(self, session_end: list[Any], stop_hooks: list[Any]) -> None:
        """Add the hooks for the values that outlive a call to those of the app. Replaces those of earlier overrides.

        The hooks for the end of a session are one for each value that is cleaned up, or one that only drops the values.
        """
        session_end[:] = [each for each in session_end if each not in (end_session, end_session_async)]
        stop_hooks[:] = [each for each in stop_hooks if each not in (stop, stop_async)]
        sessions = [each for each in self.kept if each.scope == "session"]
        if sessions:
            cleaned = sum(each.is_generator for each in sessions)
            session_end += [end_session_async if _any_async(sessions) else end_session] * max(cleaned, 1)
        if self.kept:
            stop_hooks.append(stop_async if _any_async(self.kept) else stop)

    def session_scoped(self) -> str | None:
        """Return the name of a provider whose value belongs to a session."""
        return next((each.name for each in self.kept if each.scope == "session"), None)

    def where(self) -> str:
        """Return the path to the provider that is being compiled."""
        return f"provider {' -> '.join(name for _, name in self.path)}"


def _any_async(providers: list[Provider]) -> bool:
    return any(each.is_async for each in providers)


def _has_hash(function: Any) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


signals.protected_files.add(Plan.wrap.__code__.co_filename)
