//! `Answer`: what the caller of one call received, and its text form in the file of answers. Does no I/O.

use futures_util::StreamExt;
use herder::{
    Error, Reply, Result,
    pool::{CallStream, ReplyMetadata},
    session::{RebindReason, Routing},
    status::{Generation, WorkerId, WorkerRef},
};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::{self, Display};

/// A call and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The number of the call, counted over all callers from 1.
    pub(crate) id: u64,
    /// The number of the session with strict affinity, from 1. 0 for a call without a session or with affinity `hint`.
    pub(crate) session: u64,
    /// The id of the first call of the group of calls that was submitted together in this session.
    pub(crate) burst: u64,
    pub(crate) kind: CallKind,
    pub(crate) outcome: CallOutcome,
}

/// The kind of a call, which decides what its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Runs at most once and should succeed.
    Once,
    /// May run more than once.
    Idempotent,
    /// Has a deadline that is short enough to pass before the answer.
    ShortDeadline,
    /// Was submitted to fail or to bring about a fault.
    FaultRequested,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CallOutcome {
    Ok {
        worker: WorkerRef,
        routing: Routing,
        attempts: u32,
        /// The call id that the result contains.
        echo: u64,
        /// The number of calls that the session's state counted, or 0 without a session.
        count: u64,
    },
    Error {
        slug: String,
        may_have_run: bool,
        worker: Option<WorkerRef>,
    },
    /// The caller abandoned the call.
    Abandoned,
    /// The caller received no answer.
    Lost,
}

/// The result of the worker's handlers: the id of the call, the count of the session, and the padding.
#[derive(Deserialize)]
pub(crate) struct Echo(u64, u64, String);

/// The result of the command `binary`: the id of the call, the length of the data, and `null` in its place.
#[derive(Deserialize)]
struct BinaryEcho(u64, usize, ());

impl CallOutcome {
    /// Takes the items of a stream, each with the id of the call and its index.
    pub(crate) async fn of_stream(mut stream: CallStream<Value>, id: u64, items: u64) -> Self {
        let mut taken = 0;
        while let Some(item) = stream.next().await {
            match item {
                Ok(item) if item[0] == id && item[1] == taken => taken += 1,
                Ok(_) => return Self::error("decode", true, None),
                Err(error) => return Self::of_error(&error),
            }
        }
        match stream.metadata() {
            Some(ReplyMetadata { worker, generation, attempts, .. }) if taken == items => {
                let worker = WorkerRef { id: worker, generation };
                Self::Ok { worker, routing: Routing::Unrouted, attempts, echo: id, count: 0 }
            }
            _ => Self::error("decode", true, None),
        }
    }

    /// Compares the binary data of a result with that of the arguments.
    pub(crate) fn of_binary(outcome: Result<Reply>, data: &[u8]) -> Self {
        match outcome.and_then(|reply| Ok((reply.decode::<BinaryEcho>()?, reply))) {
            Ok((BinaryEcho(echo, length, ()), reply)) => match reply.buffers() {
                [buffer] if length == data.len() && buffer.bytes() == data => {
                    let worker = reply.process();
                    Self::Ok { worker, routing: reply.routing, attempts: reply.attempts, echo, count: 0 }
                }
                _ => Self::error("decode", true, None),
            },
            Err(error) => Self::of_error(&error),
        }
    }

    pub(crate) fn of(outcome: Result<Reply>, pad: usize) -> Self {
        match outcome.and_then(|reply| Ok((reply.decode::<Echo>()?, reply))) {
            Ok((Echo(_, _, padding), _)) if padding.len() != pad => Self::error("decode", true, None),
            Ok((Echo(echo, count, _), reply)) => {
                let worker = reply.process();
                Self::Ok { worker, routing: reply.routing, attempts: reply.attempts, echo, count }
            }
            Err(error) => Self::of_error(&error),
        }
    }

    pub(crate) fn of_error(error: &Error) -> Self {
        Self::error(error.slug(), error.may_have_run(), error.worker())
    }

    pub(crate) fn error(slug: &str, may_have_run: bool, worker: Option<WorkerRef>) -> Self {
        Self::Error { slug: slug.into(), may_have_run, worker }
    }
}

const ROUTINGS: [(&str, Routing); 6] = [
    ("unrouted", Routing::Unrouted),
    ("new", Routing::New),
    ("hit", Routing::Hit),
    ("lost", Routing::Rebound(RebindReason::WorkerLost)),
    ("expired", Routing::Rebound(RebindReason::Expired)),
    ("busy", Routing::Rebound(RebindReason::Busy)),
];
const KINDS: [(&str, CallKind); 4] = [
    ("once", CallKind::Once),
    ("idempotent", CallKind::Idempotent),
    ("short_deadline", CallKind::ShortDeadline),
    ("fault_requested", CallKind::FaultRequested),
];

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("?", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, session, burst, kind, outcome } = self;
        write!(f, "{id} {session} {burst} {} ", name_of(&KINDS, kind))?;
        match outcome {
            CallOutcome::Ok { worker, routing, attempts, echo, count } => {
                let routing = name_of(&ROUTINGS, routing);
                write!(f, "ok {} {} {routing} {attempts} {echo} {count}", worker.id.0, worker.generation.0)
            }
            CallOutcome::Error { slug, may_have_run, worker } => {
                let worker = worker.unwrap_or(WorkerRef { id: WorkerId(0), generation: Generation(0) });
                write!(f, "error {} {} {slug} {}", worker.id.0, worker.generation.0, u8::from(*may_have_run))
            }
            CallOutcome::Abandoned => f.write_str("abandoned"),
            CallOutcome::Lost => f.write_str("lost"),
        }
    }
}

/// Parses a line that `Display` wrote. Returns `None` if the line is malformed.
pub(crate) fn parse(line: &str) -> Option<Answer> {
    let mut fields = line.split(' ');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (id, session, burst) = (number()?, number()?, number()?);
    let kind = named(&KINDS, fields.next()?)?;
    let outcome = match fields.next()? {
        "abandoned" => CallOutcome::Abandoned,
        "lost" => CallOutcome::Lost,
        kind => parse_answered(kind, fields)?,
    };
    Some(Answer { id, session, burst, kind, outcome })
}

fn parse_answered<'a>(kind: &str, mut fields: impl Iterator<Item = &'a str>) -> Option<CallOutcome> {
    let (worker, generation) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let worker_ref = WorkerRef { id: WorkerId(worker), generation: Generation(generation) };
    let name = fields.next()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    let first = number()?;
    if kind == "error" {
        return Some(CallOutcome::error(name, first == 1, (worker > 0).then_some(worker_ref)));
    }
    let (echo, count) = (number()?, number()?);
    Some(CallOutcome::Ok {
        worker: worker_ref,
        routing: named(&ROUTINGS, name)?,
        attempts: u32::try_from(first).ok()?,
        echo,
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_lines_round_trip() {
        let worker = WorkerRef { id: WorkerId(3), generation: Generation(7) };
        let results = ROUTINGS.map(|(_, routing)| CallOutcome::Ok { worker, routing, attempts: 2, echo: 9, count: 4 });
        let others = [
            CallOutcome::error("worker-lost", true, Some(worker)),
            CallOutcome::error("queue-full", false, None),
            CallOutcome::Abandoned,
            CallOutcome::Lost,
        ];
        for (outcome, (_, kind)) in results.into_iter().chain(others).zip(KINDS.iter().cycle()) {
            let answer = Answer { id: 9, session: 2, burst: 8, kind: *kind, outcome };
            assert_eq!(parse(&answer.to_string()), Some(answer));
        }
        assert_eq!(parse("9 2 8 once ok 3 7 hit"), None);
    }
}
