//! The cost of a circuit breaker for a call that it admits: the same echo on two pools that differ only in the breaker,
//! in paired rounds: `cargo bench --bench breaker`. The second table compares two pools without a breaker; it shows the
//! noise.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, and prints its table"
)]

#[path = "common/calls.rs"]
mod calls;
#[path = "common/pairs.rs"]
mod pairs;
#[path = "common/rounds.rs"]
mod rounds;

use herder::{Pool, PoolConfig, config::Breaker};
use pairs::{Pair, Rounds, paired};
use std::time::Duration;

fn main() {
    actix_rt::System::new().block_on(async {
        println!("second pool  callers   first/s  second/s   rate ratio          p50 ratio           p99 ratio");
        for (name, on) in [("breaker on", true), ("the same", false)] {
            for callers in [1, 64] {
                report(name, callers, &compare(callers, on).await);
            }
        }
    });
}

async fn compare(callers: usize, on: bool) -> Pair {
    let (off, other) = (pool("off", false).await, pool("other", on).await);
    let pair = paired(Rounds::FULL, callers, calls::echo(&off), calls::echo(&other)).await;
    for pool in [off, other] {
        pool.shutdown(Duration::from_secs(5)).await.expect("an end");
    }
    pair
}

async fn pool(name: &str, breaker: bool) -> Pool {
    let config = PoolConfig::basic(format!("bench_{name}")).app("herder.demo:app").pool_size(2).overflow(0);
    let config = config.breaker(Breaker::new().enabled(breaker)).build().expect("a configuration");
    Pool::start(config).await.expect("a pool")
}

fn report(name: &str, callers: usize, pair: &Pair) {
    let median =
        |side: &[rounds::Figures]| rounds::Spread::of(side.iter().map(|figures| figures.per_second).collect()).median;
    let ratio = |of: fn(&rounds::Figures) -> f64| {
        let rounds::Spread { min, median, max } = rounds::Spread::of(pair.each(|first, second| of(second) / of(first)));
        format!("{median:.3} ({min:.2}-{max:.2})")
    };
    let (rate, p50, p99) = (ratio(|f| f.per_second), ratio(|f| f.p50_us), ratio(|f| f.p99_us));
    println!(
        "{name:<12} {callers:>7} {:>9.0} {:>9.0}   {rate}   {p50}   {p99}",
        median(&pair.first),
        median(&pair.second)
    );
}
