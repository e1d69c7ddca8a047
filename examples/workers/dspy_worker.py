"""DSPy programs in sessions. Each session has a language model and programs of its own, as in the bridge of DSPex.

Needs dspy: `python3 -m venv .venv && .venv/bin/pip install dspy`.
Try it: `herder serve examples/workers/dspy_worker.py:app --enhanced --pool-size 2`, then
`herder call dspy_worker configure_lm '{"model": "dummy", "answers": [{"answer": "four"}]}' --session ann`
`herder call dspy_worker create_program '{"id": "qa", "signature": {"inputs": [{"name": "question"}], "outputs":
[{"name": "answer"}]}}' --session ann`
`herder call dspy_worker execute_program '{"program_id": "qa", "inputs": {"question": "2 + 2?"}}' --session ann`
"""
import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import herder

try:
    import dspy
    from dspy.signatures import make_signature
    from dspy.utils import DummyLM
except ImportError as missing:  # the start fails with this message, which callers of the pool receive
    raise SystemExit(f"dspy_worker.py needs dspy ({missing}): pip install dspy") from None

Name = Annotated[str, herder.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
KINDS: dict[str, Any] = {"predict": dspy.Predict, "chain_of_thought": dspy.ChainOfThought}
STARTED = time.monotonic()
app = herder.App()

@dataclass
class Field:
    name: Name
    description: str = ""

@dataclass
class Signature:
    inputs: list[Field]
    outputs: list[Field]
    name: Name | None = None
    instructions: str = ""

    def __post_init__(self) -> None:
        names = [each.name for each in self.inputs + self.outputs]
        if not self.outputs or len(set(names)) < len(names):  # an error of the argument, 422
            raise ValueError("a signature needs outputs, and its names must differ")

    def build(self) -> Any:
        inputs = {each.name: (str, dspy.InputField(desc=each.description or None)) for each in self.inputs}
        outputs = {each.name: (str, dspy.OutputField(desc=each.description or None)) for each in self.outputs}
        return make_signature({**inputs, **outputs}, self.instructions or None, self.name or "Signature")

@dataclass
class Program:
    """What the commands answer about a program."""

    id: str
    program_type: str
    signature: Signature
    created_at: datetime
    execution_count: int = 0
    last_executed: datetime | None = None

@dataclass
class Workspace:
    """The state of a session. It is in the memory of the worker that runs all calls of the session."""

    lm: Any = None
    modules: dict[str, Any] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    executions: int = 0

    def find(self, id: str) -> Program:
        if id not in self.programs:
            raise herder.Rejected(f"the session has no program {id!r}", code="unknown_program")
        return self.programs[id]

def workspace(session: herder.Session) -> Workspace:
    found: Workspace = session.state.setdefault("workspace", Workspace())
    return found

@app.command
def configure_lm(
    model: str,
    session: herder.Session,
    api_key: str | None = None,
    temperature: Annotated[float, herder.Meta(ge=0, le=2)] = 0.7,
    answers: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Set the language model of the session: `dummy` gives the `answers` in turn, others are names of LiteLLM."""
    dummy = model == "dummy"  # the other makes no request yet
    lm = DummyLM(answers or []) if dummy else dspy.LM(model, api_key=api_key, temperature=temperature)
    workspace(session).lm = lm  # not `dspy.configure`, which all sessions of the worker would share
    return {"status": "configured", "model": model, "temperature": temperature}

@app.command
def create_program(
    id: str,
    signature: Signature,
    session: herder.Session,
    program_type: Literal["predict", "chain_of_thought"] = "predict",
) -> Program:
    """Create a program of the session."""
    space = workspace(session)
    if id in space.programs:
        raise herder.Rejected(f"the session already has a program {id!r}", code="program_exists")
    space.modules[id] = KINDS[program_type](signature.build())
    space.programs[id] = Program(id, program_type, signature, datetime.now(timezone.utc))
    return space.programs[id]

@app.command
def execute_program(program_id: str, inputs: dict[str, str], session: herder.Session) -> dict[str, Any]:
    """Run a program with the language model of the session, and return its outputs."""
    space = workspace(session)
    program = space.find(program_id)
    if space.lm is None:
        raise herder.Rejected("the session has no language model: call configure_lm", code="no_lm")
    names = sorted(each.name for each in program.signature.inputs)
    if sorted(inputs) != names:
        raise herder.Rejected(f"{program_id!r} takes {names}, not {sorted(inputs)}", code="wrong_inputs")
    with dspy.context(lm=space.lm):
        prediction = space.modules[program_id](**inputs)
    space.executions += 1
    program.execution_count += 1
    program.last_executed = datetime.now(timezone.utc)
    return {"program_id": program_id, "outputs": dict(prediction)}  # of `chain_of_thought`, with the reasoning

@app.command
def list_programs(session: herder.Session) -> dict[str, Any]:
    """Return the programs of the session."""
    programs = list(workspace(session).programs.values())
    return {"programs": programs, "total_count": len(programs)}

@app.command
def delete_program(program_id: str, session: herder.Session) -> dict[str, str]:
    """Delete a program of the session."""
    space = workspace(session)
    del space.programs[space.find(program_id).id], space.modules[program_id]
    return {"program_id": program_id, "status": "deleted"}

@app.command
def get_stats(session: herder.Session) -> dict[str, Any]:
    """Return counts of the session, and the age of the worker. `herder status` has those of the pool."""
    space = workspace(session)
    return {
        "programs_count": len(space.programs),
        "executions": space.executions,
        "lm_configured": space.lm is not None,
        "uptime": timedelta(seconds=round(time.monotonic() - STARTED, 3)),
        "pid": os.getpid(),
        "dspy": dspy.__version__,
    }

@app.command
def cleanup(session: herder.Session) -> dict[str, Any]:
    """Delete all programs of the session, and its language model. To end the session does that too."""
    return {"status": "cleaned", "programs_removed": len(session.state.pop("workspace", Workspace()).programs)}

@app.on_session_end
def forget(session: herder.Session, reason: str) -> None:
    print(session.id, reason, sorted(workspace(session).programs))
