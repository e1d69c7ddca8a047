"""The sessions of one worker: the object that handlers get, and the table of session state."""

from __future__ import annotations

from _thread import allocate_lock

from herder.errors import SessionStateUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from herder.dependency_values import Registry


class Sessions:
    """The state of each session with its epoch, by session id."""

    __slots__ = ("dependencies", "lock", "started", "states", "unavailable")

    def __init__(self, unavailable: str | None = None) -> None:
        self.unavailable = unavailable
        self.dependencies: Registry | None = None  # where the values of dependencies with scope="session" are kept
        self.lock = allocate_lock()
        self.states: dict[str, tuple[int, dict[str, Any]]] = {}
        # The sessions and epochs whose `on_session_start` hooks have run; empty if the app has none. The host sends one
        # `session_end` for each epoch of which it has sent a call, so an entry does not stay for ever.
        self.started: set[tuple[str, int]] = set()

    def state(self, id: str, epoch: int) -> dict[str, Any]:
        """Return the state of `id` at `epoch`; create it if necessary. A newer epoch replaces the older state.

        Raises `SessionStateUnavailable` for an older epoch, and in a pool without session state.
        """
        if self.unavailable is not None:
            raise SessionStateUnavailable(self.unavailable)
        entry = self.states.get(id)
        if entry is None:
            entry = self.states.setdefault(id, (epoch, {}))  # atomic: handlers may run in threads
        if entry[0] < epoch:
            entry = self._replace(id, epoch)
        current, state = entry
        if current > epoch:
            raise SessionStateUnavailable(
                f"session {id!r} was rebound: this call belongs to epoch {epoch}, the current epoch is {current}"
            )
        return state

    def _replace(self, id: str, epoch: int) -> tuple[int, dict[str, Any]]:
        """Replace an older state, once: other threads may do so at the same time."""
        with self.lock:
            entry = self.states.get(id)
            if entry is None or entry[0] < epoch:
                entry = self.states[id] = (epoch, {})
            return entry

    def drop(self, id: str, epoch: int) -> None:
        """Delete the state of `id`, unless a newer epoch has begun."""
        self.started.discard((id, epoch))
        entry = self.states.get(id)
        if entry is not None and entry[0] <= epoch:
            del self.states[id]


class Session:
    """The session of a call. A handler gets it in a parameter with this annotation: `session: herder.Session`."""

    __slots__ = ("_epoch", "_sessions", "id")

    def __init__(self, id: str, epoch: int, sessions: Sessions) -> None:
        self.id = id
        self._epoch = epoch
        self._sessions = sessions

    @property
    def state(self) -> dict[str, Any]:
        """A dict in the memory of this worker, which exists as long as the session.

        Raises `SessionStateUnavailable` in a pool without session affinity.
        """
        return self._sessions.state(self.id, self._epoch)

    def __repr__(self) -> str:
        return f"<herder.Session {self.id!r}>"
