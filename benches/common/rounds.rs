//! A round: some callers make calls for some time. Returns the durations of the calls, and summarizes figures over
//! several rounds.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

/// The figures of one side in one round.
#[derive(Clone, Copy)]
pub struct Figures {
    pub p50_us: f64,
    pub p99_us: f64,
    pub per_second: f64,
}

/// A median with its range.
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { min: values[0], median: values[values.len() / 2], max: values[values.len() - 1] }
    }
}

impl Figures {
    /// Summarizes the durations, in microseconds, of all calls that ended within a time.
    fn of(mut times: Vec<f64>, span: Duration) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Self { p50_us: at(0.5), p99_us: at(0.99), per_second: times.len() as f64 / span.as_secs_f64() }
    }
}

/// Runs a round. Each caller makes its next call as soon as the previous one is answered.
pub async fn round<F, Fut>(callers: usize, length: Duration, call: F) -> Figures
where
    F: Fn() -> Fut + Clone + 'static,
    Fut: Future<Output = ()>,
{
    let (begin, times) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (call, times) = (call.clone(), times.clone());
            tokio::task::spawn_local(async move {
                while begin.elapsed() < length {
                    let start = Instant::now();
                    call().await;
                    times.borrow_mut().push(start.elapsed().as_secs_f64() * 1e6);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
    Figures::of(times.take(), begin.elapsed())
}
