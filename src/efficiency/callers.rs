//! Callers: tasks that call one command continuously, and record the times of each call.

use super::{Failures, MeasureError};
use crate::Pool;
use herder_actors::{Error, Reply, Result, now};
use herder_efficiency::concurrency::{Interval, InvalidOperation, Operation};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// The calls to make, and the function that gets the progress.
#[derive(Clone)]
pub(super) struct Workload {
    pub(super) pool: Pool,
    pub(super) command: Arc<str>,
    pub(super) arguments: Arc<Value>,
    pub(super) sessions: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) progress: Progress,
}

/// Reports the number of finished calls and of all calls.
#[derive(Clone)]
pub(super) struct Progress {
    pub(super) done: Arc<AtomicUsize>,
    pub(super) of: usize,
    pub(super) on_progress: Arc<dyn Fn(usize, usize) + Send + Sync>,
}

/// The results of the callers.
#[derive(Default)]
pub(super) struct CallBatch {
    pub(super) operations: Vec<Operation>,
    pub(super) encoding: Vec<Interval>,
    pub(super) failures: Failures,
    pub(super) stamps: Option<InvalidOperation>,
}

impl Workload {
    /// Creates a workload that reports no progress.
    pub(super) fn without_progress(pool: &Pool, command: &str, arguments: &Value) -> Self {
        let progress = Progress { done: Arc::default(), of: 0, on_progress: Arc::new(|_, _| {}) };
        let (command, arguments) = (command.into(), Arc::new(arguments.clone()));
        Self { pool: pool.clone(), command, arguments, sessions: 0, timeout: None, progress }
    }

    /// Makes this number of calls, with this number of callers that have one call at a time. Dropping the future
    /// cancels the calls.
    pub(super) async fn run(&self, calls: usize, callers: usize) -> CallBatch {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..callers.clamp(1, calls.max(1)) {
            tasks.spawn(self.clone().call_until(calls, next.clone()));
        }
        let mut batch = CallBatch::default();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(part) => batch.merge(part),
                Err(error) => batch.failures.add(Error::Internal { reason: error.to_string().into() }),
            }
        }
        batch
    }

    async fn call_until(self, calls: usize, next: Arc<AtomicUsize>) -> CallBatch {
        let mut batch = CallBatch::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= calls {
                return batch;
            }
            self.call(number, &mut batch).await;
            (self.progress.on_progress)(self.progress.done.fetch_add(1, Ordering::Relaxed) + 1, self.progress.of);
        }
    }

    async fn call(&self, number: usize, batch: &mut CallBatch) {
        let begun = now();
        let mut call = self.pool.call::<IgnoredAny>(&self.command, &*self.arguments);
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        if self.sessions > 0 {
            call = call.session(&session(number % self.sessions));
        }
        let answer = call.reply();
        let sent = now();
        let answer = answer.await;
        let answered = now();
        batch.record(answer);
        let spans = [(begun, sent), (answered, now())];
        batch.encoding.extend(spans.iter().filter_map(|(from, to)| Interval::new(from.0, to.0).ok()));
    }

    /// Ends the sessions that the calls used.
    pub(super) async fn end_sessions(&self) -> Result<()> {
        for number in 0..self.sessions {
            self.pool.end_session(&session(number)).await?;
        }
        Ok(())
    }
}

fn session(number: usize) -> String {
    format!("herder-measure-{number}")
}

/// Returns the times of a call (admitted, sent, started, ended, answered) and the process that ran it. [`TimeAccount`]
/// and [`verify_concurrent_execution`] use them.
///
/// # Errors
/// Fails if the worker sent no stamps, or stamps of another clock.
///
/// ```no_run
/// # async fn example(pool: &herder::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// use herder::efficiency::operation;
/// use serde_json::{Value, json};
///
/// let reply = pool.call::<Value>("predict", &json!({ "x": 1 })).reply().await?;
/// println!("the handler ran for {:?}", operation(&reply)?.interval().duration());
/// # Ok(()) }
/// ```
///
/// [`TimeAccount`]: crate::efficiency::concurrency::TimeAccount
/// [`verify_concurrent_execution`]: crate::efficiency::concurrency::verify_concurrent_execution
pub fn operation(reply: &Reply) -> std::result::Result<Operation, InvalidOperation> {
    let worker = reply.process();
    let (queued, sent) = (reply.admitted, reply.admitted + reply.queued);
    let (started, ended, answered) = (reply.stamps.started, reply.stamps.ended, sent + reply.ran);
    Operation { worker, queued, sent, started, ended, answered }.checked()
}

impl CallBatch {
    fn record(&mut self, answer: Result<Reply>) {
        let reply = match answer.and_then(|reply| reply.decode::<IgnoredAny>().map(|_| reply)) {
            Ok(reply) => reply,
            Err(error) => return self.failures.add(error),
        };
        match operation(&reply) {
            Ok(operation) => self.operations.push(operation),
            Err(error) => self.stamps = Some(error),
        }
    }

    fn merge(&mut self, part: Self) {
        self.operations.extend(part.operations);
        self.encoding.extend(part.encoding);
        self.failures.merge(part.failures);
        self.stamps = self.stamps.take().or(part.stamps);
    }

    /// Returns the interval from the start of the first call to the last answer; `None` if there was no call.
    pub(super) fn window(&self) -> Option<Interval> {
        let begun = self.encoding.iter().map(|encoding| encoding.started).min()?;
        let ended = self.operations.iter().map(|operation| operation.answered.0).max()?;
        Interval::new(begun, ended).ok()
    }

    /// Returns the sum of the durations of all handlers.
    pub(super) fn work(&self) -> Duration {
        self.operations.iter().map(|operation| operation.interval().duration()).sum()
    }

    /// Returns the sum of the durations that all handlers would have if each were as short as the shortest one.
    pub(super) fn floor(&self) -> Duration {
        let shortest =
            self.operations.iter().map(|operation| operation.interval().duration()).min().unwrap_or_default();
        shortest.saturating_mul(u32::try_from(self.operations.len()).unwrap_or(u32::MAX))
    }

    /// Fails if the batch has unusable stamps or no successful call.
    pub(super) fn checked(self) -> Result<Self, MeasureError> {
        if let Some(stamps) = self.stamps {
            return Err(stamps.into());
        }
        match self.failures.first {
            Some(first) if self.operations.is_empty() => {
                Err(MeasureError::AllFailed { calls: self.failures.count, first: Box::new(first) })
            }
            _ => Ok(self),
        }
    }
}
