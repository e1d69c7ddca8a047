//! The layers. Each one starts pools, measures them and adds its figures to the table.

use super::{
    Effort, calls,
    figures::{Better, Table},
    pairs::{Rounds, paired},
    proc,
    rounds::{Figures, round},
};
use futures_util::future::LocalBoxFuture;
use herder::{Pool, PoolConfig};
use serde_json::Value;
use std::{cell::Cell, rc::Rc, time::Duration};

/// The number of callers for throughput: enough that each worker always has a next call, as in the benchmark `echo`.
const MANY: usize = 64;
/// The number of sessions: more than workers, so that each worker has several.
const SESSIONS: usize = 100;

/// The number of rounds in a tenth of the sustained load.
const TENTH: usize = 5;

/// Measures a round trip: one caller, one worker.
pub async fn latency(effort: Effort, table: &mut Table) {
    let pool = basic("latency", 1).await;
    table.add_calls("latency", &rounds(effort.rounds, 1, calls::echo(&pool)).await);
    end(pool).await;
}

/// Measures the rate of many callers, on one worker and on two.
pub async fn throughput(effort: Effort, table: &mut Table) {
    for workers in [1, 2] {
        let pool = basic("throughput", workers).await;
        table.add_calls(
            &format!("throughput.{workers}_workers"),
            &rounds(effort.rounds, MANY, calls::echo(&pool)).await,
        );
        end(pool).await;
    }
}

/// Measures many callers over a long time: the last tenth compared with the first, and the memory of the host.
pub async fn sustained(effort: Effort, table: &mut Table) {
    let pool = enhanced("sustained", 2).await;
    let length = effort.sustained / (10 * TENTH as u32);
    round(MANY, length, sessions(&pool)).await; // a warm-up
    let (mut rounds, before) = (Vec::new(), proc::resident_mib());
    for _ in 0..10 * TENTH {
        rounds.push(round(MANY, length, sessions(&pool)).await);
    }
    let (first, last) = (&rounds[..TENTH], &rounds[9 * TENTH..]);
    let ratio = |of: fn(&Figures) -> f64| first.iter().zip(last).map(|(first, last)| of(last) / of(first)).collect();
    table.add_calls("sustained", &rounds);
    table.add("sustained.last_over_first.rate", "", Better::Higher, ratio(|figures| figures.per_second));
    table.add("sustained.last_over_first.p99", "", Better::Lower, ratio(|figures| figures.p99_us));
    table.add("sustained.memory", "MiB", Better::Lower, vec![proc::resident_mib()]);
    table.add("sustained.memory.growth", "MiB", Better::Lower, vec![proc::resident_mib() - before]);
    end(pool).await;
}

/// Compares calls with and without a session, and an enhanced with a basic pool, in paired rounds.
pub async fn affinity(effort: Effort, table: &mut Table) {
    let (basic, enhanced) = (basic("plain", 2).await, enhanced("affine", 2).await);
    for callers in [1, MANY] {
        let pairs = [
            (
                "session_over_anonymous.enhanced",
                paired(effort.rounds, callers, calls::echo(&enhanced), sessions(&enhanced)).await,
            ),
            (
                "session_over_anonymous.basic",
                paired(effort.rounds, callers, calls::echo(&basic), sessions(&basic)).await,
            ),
            ("enhanced_over_basic", paired(effort.rounds, callers, calls::echo(&basic), calls::echo(&enhanced)).await),
        ];
        for (name, pair) in pairs {
            let ratio = |of: fn(&Figures) -> f64| pair.each(|first, second| of(second) / of(first));
            let name = format!("affinity.{name}.{callers}_callers");
            table.add(&format!("{name}.p50"), "", Better::Lower, ratio(|figures| figures.p50_us));
            table.add(&format!("{name}.rate"), "", Better::Higher, ratio(|figures| figures.per_second));
        }
    }
    end(basic).await;
    end(enhanced).await;
}

async fn basic(name: &str, workers: usize) -> Pool {
    let config = PoolConfig::basic(name).app("herder.demo:app").pool_size(workers).overflow(0).build();
    Pool::start(config.expect("a configuration")).await.expect("a pool")
}

async fn enhanced(name: &str, workers: usize) -> Pool {
    let config = PoolConfig::enhanced(name).app("herder.demo:app").pool_size(workers).overflow(0).build();
    Pool::start(config.expect("a configuration")).await.expect("a pool")
}

async fn end(pool: Pool) {
    pool.shutdown(Duration::from_secs(5)).await.expect("an end");
}

/// Returns a function that makes an echo call for the next of several sessions.
fn sessions(pool: &Pool) -> impl Fn() -> LocalBoxFuture<'static, ()> + Clone + 'static {
    let (pool, arguments, next) = (pool.clone(), Rc::new(calls::arguments()), Rc::new(Cell::new(0)));
    let names: Rc<Vec<String>> = Rc::new((0..SESSIONS).map(|number| format!("session-{number}")).collect());
    move || {
        let (pool, arguments, names) = (pool.clone(), arguments.clone(), names.clone());
        let number = next.replace((next.get() + 1) % SESSIONS);
        Box::pin(async move {
            let _: Value = pool.call("echo", &*arguments).session(&names[number]).await.expect("an echo");
        })
    }
}

/// Runs rounds of one side. The first one is a warm-up and is not counted.
async fn rounds(
    rounds: Rounds,
    callers: usize,
    call: impl Fn() -> LocalBoxFuture<'static, ()> + Clone + 'static,
) -> Vec<Figures> {
    let mut all = Vec::new();
    for _ in 0..=rounds.count {
        all.push(round(callers, rounds.length, call.clone()).await);
    }
    all.split_off(1)
}
