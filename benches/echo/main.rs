//! A small echo through `Pool` compared with the baseline, pinned to one core and unpinned: `cargo bench --bench echo`.
//!
//! Pinned, the results are stable; unpinned, they are bimodal. Always quote both, and only ratios.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, prints its table, and starts the baseline's processes itself"
)]

mod baseline;
#[path = "../common/calls.rs"]
mod calls;
#[path = "../common/pairs.rs"]
mod pairs;
#[path = "../common/regimes.rs"]
mod regimes;
#[path = "../common/rounds.rs"]
mod rounds;

use baseline::BaselineClient;
use herder::{Pool, PoolConfig};
use pairs::{Pair, Rounds, paired};
use serde_json::Value;
use std::rc::Rc;

fn main() {
    regimes::each(measure);
}

fn measure(regime: &str) {
    actix_rt::System::new().block_on(async {
        println!("\n{HEAD}");
        for (callers, workers) in [(1, 1), (64, 1), (64, 2)] {
            for thread in [StartThread::OwnThread, StartThread::CallersArbiter] {
                let pair = compare(callers, workers, thread).await;
                report(regime, callers, workers, thread, &pair);
            }
        }
    });
}

/// The thread of the pool's actors: a separate thread (the default), or the caller's, like the client of the baseline.
#[derive(Clone, Copy)]
enum StartThread {
    OwnThread,
    CallersArbiter,
}

async fn compare(callers: usize, workers: usize, thread: StartThread) -> Pair {
    let config = PoolConfig::basic("bench").app("herder.demo:app").pool_size(workers).overflow(0).build();
    let start = Pool::start(config.expect("a configuration"));
    let pool = match thread {
        StartThread::OwnThread => start.await,
        StartThread::CallersArbiter => start.on_current_arbiter().await,
    };
    let pool = pool.expect("a pool");
    let baseline = Rc::new(BaselineClient::start(workers));
    let body = serde_json::to_vec(&calls::arguments()).expect("JSON");
    let pair = paired(
        Rounds::FULL,
        callers,
        move || {
            let (baseline, body) = (baseline.clone(), body.clone());
            async move {
                let _: Value = serde_json::from_slice(&baseline.echo(&body).await).expect("JSON");
            }
        },
        calls::echo(&pool),
    )
    .await;
    pool.shutdown(std::time::Duration::from_secs(5)).await.expect("an end");
    pair
}

const HEAD: &str = "regime    pool on  callers workers  base  p50 us (p99)   pool p50 us (p99)    latency ratio      base/s    pool/s  rate ratio";

fn report(regime: &str, callers: usize, workers: usize, thread: StartThread, pair: &Pair) {
    let median = |side: &[rounds::Figures], of: fn(&rounds::Figures) -> f64| {
        rounds::Spread::of(side.iter().map(of).collect()).median
    };
    let thread = match thread {
        StartThread::OwnThread => "separate",
        StartThread::CallersArbiter => "caller's",
    };
    let latency = rounds::Spread::of(pair.each(|baseline, pool| pool.p50_us / baseline.p50_us));
    let rate = rounds::Spread::of(pair.each(|baseline, pool| pool.per_second / baseline.per_second));
    println!(
        "{regime:<9} {thread:<8} {callers:>7} {workers:>7} {:>10.1} ({:>6.1}) {:>10.1} ({:>6.1})   {:.2} ({:.2}-{:.2}) {:>8.0} {:>8.0}  {:.2} ({:.2}-{:.2})",
        median(&pair.first, |f| f.p50_us),
        median(&pair.first, |f| f.p99_us),
        median(&pair.second, |f| f.p50_us),
        median(&pair.second, |f| f.p99_us),
        latency.median,
        latency.min,
        latency.max,
        median(&pair.first, |f| f.per_second),
        median(&pair.second, |f| f.per_second),
        rate.median,
        rate.min,
        rate.max,
    );
}
