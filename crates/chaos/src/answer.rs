//! What a caller was told of one call: a line in the account of the callers. Pure.

use herder::{Error, Generation, RebindReason, Reply, Result, Routing, WorkerId, WorkerRef};
use serde::Deserialize;
use std::fmt::{self, Display};

/// A call and its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Counts from 1, over all callers.
    pub(crate) id: u64,
    /// Of a strict session, counted from 1; 0: none, or a loose one.
    pub(crate) session: u64,
    /// The id of the first call of the session that was submitted together with it.
    pub(crate) burst: u64,
    pub(crate) kind: CallKind,
    pub(crate) end: CallOutcome,
}

/// What may be expected of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// It runs at most once, and should end well.
    Once,
    /// It may run again.
    Idempotent,
    /// Its deadline is so short that it may well pass.
    ShortDeadline,
    /// It was asked to fail.
    FaultRequested,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CallOutcome {
    Ok {
        worker: WorkerRef,
        routing: Routing,
        attempts: u32,
        /// The id that the answer names.
        echo: u64,
        /// What the session's state counted, or 0.
        count: u64,
    },
    Error {
        slug: String,
        may_have_run: bool,
        worker: Option<WorkerRef>,
    },
    /// Its caller went away.
    Abandoned,
    /// Nobody answered.
    Lost,
}

/// What the worker's handlers give: the call's id, the session's count, the padding.
#[derive(Deserialize)]
pub(crate) struct Echo(u64, u64, String);

impl CallOutcome {
    pub(crate) fn of(outcome: Result<Reply>, pad: usize) -> Self {
        match outcome.and_then(|reply| Ok((reply.decode::<Echo>()?, reply))) {
            Ok((Echo(_, _, padding), _)) if padding.len() != pad => Self::error("decode", true, None),
            Ok((Echo(echo, count, _), reply)) => {
                let worker = WorkerRef { id: reply.worker, generation: reply.generation };
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
    ("hurried", CallKind::ShortDeadline),
    ("asked", CallKind::FaultRequested),
];

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("?", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, session, burst, kind, end } = self;
        write!(f, "{id} {session} {burst} {} ", name_of(&KINDS, kind))?;
        match end {
            CallOutcome::Ok { worker, routing, attempts, echo, count } => {
                let routing = name_of(&ROUTINGS, routing);
                write!(f, "ok {} {} {routing} {attempts} {echo} {count}", worker.id.0, worker.generation.0)
            }
            CallOutcome::Error { slug, may_have_run, worker } => {
                let worker = worker.unwrap_or(WorkerRef { id: WorkerId(0), generation: Generation(0) });
                write!(f, "error {} {} {slug} {}", worker.id.0, worker.generation.0, u8::from(*may_have_run))
            }
            CallOutcome::Abandoned => f.write_str("left"),
            CallOutcome::Lost => f.write_str("lost"),
        }
    }
}

/// A line as `Display` writes it.
pub(crate) fn parse(line: &str) -> Option<Answer> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (id, session, burst) = (number()?, number()?, number()?);
    let kind = named(&KINDS, words.next()?)?;
    let end = match words.next()? {
        "left" => CallOutcome::Abandoned,
        "lost" => CallOutcome::Lost,
        what => ended(what, words)?,
    };
    Some(Answer { id, session, burst, kind, end })
}

fn ended<'a>(what: &str, mut words: impl Iterator<Item = &'a str>) -> Option<CallOutcome> {
    let (worker, generation) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let worker_ref = WorkerRef { id: WorkerId(worker), generation: Generation(generation) };
    let name = words.next()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let first = number()?;
    if what == "error" {
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
        let ends = ROUTINGS.map(|(_, routing)| CallOutcome::Ok { worker, routing, attempts: 2, echo: 9, count: 4 });
        let others = [
            CallOutcome::error("worker-lost", true, Some(worker)),
            CallOutcome::error("queue-full", false, None),
            CallOutcome::Abandoned,
            CallOutcome::Lost,
        ];
        for (end, (_, kind)) in ends.into_iter().chain(others).zip(KINDS.iter().cycle()) {
            let answer = Answer { id: 9, session: 2, burst: 8, kind: *kind, end };
            assert_eq!(parse(&answer.to_string()), Some(answer));
        }
        assert_eq!(parse("9 2 8 once ok 3 7 hit"), None);
    }
}
