//! A small echo through `Pool` beside the floor, in one run, pinned to one core and unpinned: `cargo bench --bench echo`.
//!
//! One regime wakes no other core and is steady; the other does and is bimodal: quote both, and ratios only.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, prints its table, and starts the floor's processes itself"
)]

mod floor;
mod rounds;

use floor::Floor;
use herder::{Pool, PoolConfig};
use rounds::{Pair, paired};
use serde_json::{Value, json};
use std::{env, process::Command, rc::Rc};

const PIN: &str = "HERDER_BENCH_PIN";

fn main() {
    match env::var(PIN).as_deref() {
        Ok("1") => {
            pin();
            measure("one core");
        }
        Ok(_) => measure("unpinned"),
        Err(_) => ["1", "0"].iter().for_each(|pinned| run_self(pinned)),
    }
}

/// Each regime is a process of its own: children inherit what the process may run on.
fn run_self(pinned: &str) {
    let own = env::current_exe().expect("this program");
    let status = Command::new(own).env(PIN, pinned).status().expect("this program again");
    assert!(status.success());
}

fn pin() {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).expect("one core");
}

fn measure(regime: &str) {
    actix_rt::System::new().block_on(async {
        println!("\n{HEAD}");
        for (callers, workers) in [(1, 1), (64, 1), (64, 2)] {
            for place in [Place::OwnThread, Place::CallersArbiter] {
                let pair = compare(callers, workers, place).await;
                report(regime, callers, workers, place, &pair);
            }
        }
    });
}

/// Where the pool's actors run: on a thread of their own (the default), or beside the caller, as the floor's client does.
#[derive(Clone, Copy)]
enum Place {
    OwnThread,
    CallersArbiter,
}

async fn compare(callers: usize, workers: usize, place: Place) -> Pair {
    let config = PoolConfig::basic("bench").app("herder.demo:app").pool_size(workers).overflow(0).build();
    let start = Pool::start(config.expect("a configuration"));
    let pool = match place {
        Place::OwnThread => start.await,
        Place::CallersArbiter => start.on_current_arbiter().await,
    };
    let pool = pool.expect("a pool");
    let floor = Rc::new(Floor::start(workers));
    let arguments = json!({ "x": 1, "text": "abcdefghijklmnopqrstuvwxyz012345" });
    let body = serde_json::to_vec(&arguments).expect("JSON");
    let echo = pool.clone();
    let arguments = Rc::new(arguments);
    let pair = paired(
        callers,
        move || {
            let (floor, body) = (floor.clone(), body.clone());
            async move {
                let _: Value = serde_json::from_slice(&floor.echo(&body).await).expect("JSON");
            }
        },
        move || {
            let (pool, arguments) = (echo.clone(), arguments.clone());
            async move {
                let _: Value = pool.call("echo", &*arguments).await.expect("an echo");
            }
        },
    )
    .await;
    pool.shutdown(std::time::Duration::from_secs(5)).await.expect("an end");
    pair
}

const HEAD: &str = "regime    pool on  callers workers  floor p50 us (p99)   pool p50 us (p99)    latency ratio      floor/s   pool/s  rate ratio";

fn report(regime: &str, callers: usize, workers: usize, place: Place, pair: &Pair) {
    let median = |side: &[rounds::Figures], of: fn(&rounds::Figures) -> f64| {
        rounds::Spread::of(side.iter().map(of).collect()).median
    };
    let place = match place {
        Place::OwnThread => "its own",
        Place::CallersArbiter => "caller's",
    };
    let latency = pair.ratio(|floor, pool| pool.p50_us / floor.p50_us);
    let rate = pair.ratio(|floor, pool| pool.per_second / floor.per_second);
    println!(
        "{regime:<9} {place:<8} {callers:>7} {workers:>7} {:>10.1} ({:>6.1}) {:>10.1} ({:>6.1})   {:.2} ({:.2}-{:.2}) {:>8.0} {:>8.0}  {:.2} ({:.2}-{:.2})",
        median(&pair.floor, |f| f.p50_us),
        median(&pair.floor, |f| f.p99_us),
        median(&pair.pool, |f| f.p50_us),
        median(&pair.pool, |f| f.p99_us),
        latency.median,
        latency.min,
        latency.max,
        median(&pair.floor, |f| f.per_second),
        median(&pair.pool, |f| f.per_second),
        rate.median,
        rate.min,
        rate.max,
    );
}
