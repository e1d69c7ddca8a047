//! An assertion that operations overlapped (R46). Stateless.

use crate::efficiency::EfficiencyReport;
use herder_actors::{Reply, Stamps};
use herder_efficiency::concurrency::{Evidence, Interval, verify_concurrent_execution};
use std::{fmt::Write, time::Duration};

/// A source of the intervals in which operations ran.
pub trait Intervals {
    /// Returns the interval of each operation that ran, all on one clock.
    fn intervals(&self) -> Vec<Interval>;
}

impl Intervals for [Interval] {
    fn intervals(&self) -> Vec<Interval> {
        self.to_vec()
    }
}

impl Intervals for [Stamps] {
    fn intervals(&self) -> Vec<Interval> {
        self.iter().filter_map(interval).collect()
    }
}

impl Intervals for [Reply] {
    fn intervals(&self) -> Vec<Interval> {
        self.iter().filter_map(|reply| interval(&reply.stamps)).collect()
    }
}

impl Intervals for EfficiencyReport {
    fn intervals(&self) -> Vec<Interval> {
        Self::intervals(self)
    }
}

impl<T> Intervals for Vec<T>
where
    [T]: Intervals,
{
    fn intervals(&self) -> Vec<Interval> {
        self.as_slice().intervals()
    }
}

impl<T, const N: usize> Intervals for [T; N]
where
    [T]: Intervals,
{
    fn intervals(&self) -> Vec<Interval> {
        self.as_slice().intervals()
    }
}

impl<T: Intervals + ?Sized> Intervals for &T {
    fn intervals(&self) -> Vec<Interval> {
        (**self).intervals()
    }
}

/// Returns the interval between two stamps of a worker. `None` if the end is before the start, or if the handler did
/// not run.
fn interval(stamps: &Stamps) -> Option<Interval> {
    Interval::new(stamps.started.0, stamps.ended.0).ok().filter(|_| stamps.ran())
}

/// Asserts that operations overlapped: at least two were running at one moment. Returns the evidence.
///
/// Accepts everything that implements [`Intervals`](crate::testing::Intervals): the report of a measurement, replies of
/// calls, stamps and intervals; also arrays, slices and vectors of them. Only the overlap is judged and not the
/// durations, so that load on the machine makes no difference.
///
/// # Panics
/// If no two operations overlapped. The message contains the reason
/// ([`Serialized`](crate::efficiency::concurrency::Serialized)) and the intervals.
///
/// ```
/// use herder::testing::{Script, scripted};
/// use serde_json::{Value, json};
/// use std::sync::Arc;
/// # #[tokio::main]
/// # async fn main() {
/// let both = Arc::new(tokio::sync::Barrier::new(2)); // each call waits until the other one runs, too
/// let script = Script::new().command("meet", async move |_| {
///     both.wait().await;
///     Ok(Value::Null)
/// });
/// let pool = scripted("meets", script, |context| context.basic().app("meets.py:app").build()).await;
/// let call = || pool.call::<Value>("meet", &json!({})).reply();
/// let (one, other) = tokio::join!(call(), call());
/// let evidence = herder::testing::assert_concurrent!([one.unwrap(), other.unwrap()]);
/// assert_eq!(evidence.peak, 2);
/// pool.shutdown_and_check().await;
/// # }
/// ```
#[macro_export]
#[doc(hidden)] // documented as `testing::assert_concurrent`
macro_rules! assert_concurrent {
    ($operations:expr $(,)?) => {
        $crate::testing::concurrent(&$operations)
    };
}

/// Implements [`assert_concurrent!`](crate::testing::assert_concurrent).
///
/// # Panics
/// If no two operations overlapped.
#[track_caller]
pub fn concurrent(operations: &(impl Intervals + ?Sized)) -> Evidence {
    let intervals = operations.intervals();
    match verify_concurrent_execution(&intervals) {
        Ok(evidence) => evidence,
        Err(serialized) => panic!("{serialized}{}", listed(&intervals)),
    }
}

/// Lists the intervals, one per line, relative to the first start.
fn listed(intervals: &[Interval]) -> String {
    let first = intervals.iter().map(|interval| interval.started).min().unwrap_or(0);
    intervals.iter().fold(String::new(), |mut text, Interval { started, ended }| {
        let [from, to] = [started, ended].map(|time| Duration::from_nanos(time - first));
        let _ = write!(text, "\n  {from:?} to {to:?}");
        text
    })
}
