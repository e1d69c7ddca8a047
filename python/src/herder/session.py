"""Sessions as handlers see them, and the table of their state. The table belongs to one worker and dies with it."""

from __future__ import annotations

from herder.errors import SessionStateUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Sessions:
    """The state of each session by id, with the epoch it belongs to."""

    __slots__ = ("states", "unavailable")

    def __init__(self, unavailable: str | None = None) -> None:
        self.unavailable = unavailable
        self.states: dict[str, tuple[int, dict[str, Any]]] = {}

    def state(self, id: str, epoch: int) -> dict[str, Any]:
        """The state of `id` at `epoch`, made when absent. A newer epoch drops the older state."""
        if self.unavailable is not None:
            raise SessionStateUnavailable(self.unavailable)
        held, state = self.states.get(id, (-1, {}))
        if held > epoch:
            raise SessionStateUnavailable(f"session {id!r} was rebound: this call belongs to epoch {epoch}, the current epoch is {held}")
        if held < epoch:
            state = {}
            self.states[id] = (epoch, state)
        return state

    def drop(self, id: str, epoch: int) -> None:
        """Forget the state of `id`, unless a newer epoch of it has begun."""
        held = self.states.get(id)
        if held is not None and held[0] <= epoch:
            del self.states[id]


class Session:
    """The session of a call. Handlers ask for it by annotation: `def add(item: str, session: herder.Session)`."""

    __slots__ = ("_epoch", "_sessions", "id")

    def __init__(self, id: str, epoch: int, sessions: Sessions) -> None:
        self.id = id
        self._epoch = epoch
        self._sessions = sessions

    @property
    def state(self) -> dict[str, Any]:
        """A dict that lives in this worker as long as the session does.

        Raises `SessionStateUnavailable` in a pool whose sessions have no fixed worker.
        """
        return self._sessions.state(self.id, self._epoch)

    def __repr__(self) -> str:
        return f"<herder.Session {self.id!r}>"
