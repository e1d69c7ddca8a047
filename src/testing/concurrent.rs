//! An assertion that operations overlapped (R46). Holds nothing.

use crate::{
    Reply, Stamps,
    concurrency::{Evidence, Interval, verify_concurrent_execution},
    efficiency::EfficiencyReport,
};
use std::{fmt::Write, time::Duration};

/// Something that knows when operations ran.
pub trait Intervals {
    /// When each ran, on one clock. What did not run has none.
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

/// Stamps come from a worker: those that run backwards prove nothing.
fn interval(stamps: &Stamps) -> Option<Interval> {
    Interval::new(stamps.started.0, stamps.ended.0).ok().filter(|_| stamps.ran())
}

/// Asserts that operations overlapped: at least two were in flight at one moment. Gives the evidence.
///
/// Takes whatever has [`Intervals`](crate::testing::Intervals): a measurement's report, replies of calls, stamps, intervals; arrays, slices and vectors of them.
/// Judged by overlap alone, so that a busy machine makes no difference.
///
/// # Panics
/// When no two overlapped: with what [`Serialized`](crate::concurrency::Serialized) says, and the intervals.
///
/// ```
/// use herder::testing::{Script, scripted};
/// use serde_json::{Value, json};
/// use std::sync::Arc;
/// # #[tokio::main]
/// # async fn main() {
/// let both = Arc::new(tokio::sync::Barrier::new(2)); // each waits until the other runs too
/// let script = Script::new().command("meet", async move |_| {
///     both.wait().await;
///     Ok(Value::Null)
/// });
/// let pool = scripted("meets", script, |context| context.basic().app("meets.py:app").build()).await;
/// let call = || pool.call::<Value>("meet", &json!({})).reply();
/// let (one, other) = tokio::join!(call(), call());
/// let evidence = herder::assert_concurrent!([one.unwrap(), other.unwrap()]);
/// assert_eq!(evidence.peak, 2);
/// pool.end().await;
/// # }
/// ```
#[macro_export]
macro_rules! assert_concurrent {
    ($operations:expr $(,)?) => {
        $crate::testing::concurrent(&$operations)
    };
}

/// What [`assert_concurrent!`](crate::assert_concurrent) does.
///
/// # Panics
/// When no two overlapped.
#[track_caller]
pub fn concurrent(operations: &(impl Intervals + ?Sized)) -> Evidence {
    let intervals = operations.intervals();
    match verify_concurrent_execution(&intervals) {
        Ok(evidence) => evidence,
        Err(serialized) => panic!("{serialized}{}", listed(&intervals)),
    }
}

/// Each interval on a line, from the first start on.
fn listed(intervals: &[Interval]) -> String {
    let first = intervals.iter().map(|interval| interval.started).min().unwrap_or(0);
    intervals.iter().fold(String::new(), |mut text, Interval { started, ended }| {
        let [from, to] = [started, ended].map(|at| Duration::from_nanos(at - first));
        let _ = write!(text, "\n  {from:?} to {to:?}");
        text
    })
}
