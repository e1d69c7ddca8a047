//! Paired rounds: floor, pool, floor, pool, ..., so that a machine that changes its pace changes both.

use std::{
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

const ROUND: Duration = Duration::from_millis(250);
const ROUNDS: usize = 15;

/// One side of a pair, in one round.
#[derive(Clone, Copy)]
pub struct Figures {
    pub p50_us: f64,
    pub p99_us: f64,
    pub per_second: f64,
}

/// Both sides, round by round.
pub struct Pair {
    pub floor: Vec<Figures>,
    pub pool: Vec<Figures>,
}

impl Pair {
    pub fn ratio(&self, of: impl Fn(Figures, Figures) -> f64) -> Spread {
        Spread::of(self.floor.iter().zip(&self.pool).map(|(floor, pool)| of(*floor, *pool)).collect())
    }
}

/// A median with the range around it.
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

/// Runs both sides in turn with this many callers; the first pair of rounds warms up and is not counted.
pub async fn paired<F, FF, P, PF>(callers: usize, floor: F, pool: P) -> Pair
where
    F: Fn() -> FF + Clone + 'static,
    FF: Future<Output = ()>,
    P: Fn() -> PF + Clone + 'static,
    PF: Future<Output = ()>,
{
    let mut pair = Pair { floor: Vec::new(), pool: Vec::new() };
    for round in 0..=ROUNDS {
        let figures = (one_round(callers, floor.clone()).await, one_round(callers, pool.clone()).await);
        if round > 0 {
            pair.floor.push(figures.0);
            pair.pool.push(figures.1);
        }
    }
    pair
}

async fn one_round<F, Fut>(callers: usize, call: F) -> Figures
where
    F: Fn() -> Fut + Clone + 'static,
    Fut: Future<Output = ()>,
{
    let (begin, times) = (Instant::now(), Rc::new(std::cell::RefCell::new(Vec::new())));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (call, times) = (call.clone(), times.clone());
            tokio::task::spawn_local(async move {
                while begin.elapsed() < ROUND {
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
    let seconds = begin.elapsed().as_secs_f64();
    let mut times = times.take();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Figures { p50_us: at(0.5), p99_us: at(0.99), per_second: times.len() as f64 / seconds }
}
