//! A pool with a million sessions: the rate of lookups through the affinity actor, and the latency of small calls with
//! and without a sweep that removes all sessions: `cargo bench --bench sweep`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark: it may end with a panic, measures time and prints its table"
)]

use actix::Addr;
use futures_util::future::join_all;
use herder::{
    Pool, PoolConfig,
    config::Sessions,
    messages::{CleanupStaleSessions, GetWorker, TrackSession},
    registry,
    session::SessionAffinityActor,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SESSIONS: usize = 1_000_000;
/// Longer than it takes to create all sessions, and to measure before the first one expires.
const TIMEOUT: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);

/// Runs the pool on the thread of its caller. Waking another core would cost more than the work that is measured.
fn main() {
    actix_rt::System::new().block_on(measure());
}

async fn measure() {
    let sessions = Sessions::new().timeout(TIMEOUT).cleanup_interval(NEVER).max(SESSIONS + 1);
    let config = PoolConfig::enhanced("sweep").app("herder.demo:app").pool_size(1).overflow(0).sessions(sessions);
    let start = Pool::start(config.build().expect("a configuration"));
    let pool = start.on_current_arbiter().await.expect("a pool");
    let begin = Instant::now();
    fill(&pool).await;
    println!("{SESSIONS} sessions tracked by message in {:.1} s", begin.elapsed().as_secs_f64());
    lookups(&pool).await;
    let quiet = echoes(&pool, Duration::from_secs(3)).await;
    tokio::time::sleep(TIMEOUT.saturating_sub(begin.elapsed()) + TIMEOUT / 4).await;
    let sweeping = actix_rt::spawn(sweep(pool.clone()));
    let mut during_sweep = Vec::new();
    while !sweeping.is_finished() {
        during_sweep.push(echo(&pool).await);
    }
    let (removed, took) = sweeping.await.expect("the sweep");
    println!("a sweep of {removed} sessions took {:.2} s", took.as_secs_f64());
    report("calls without a sweep", quiet);
    report("calls during the sweep", during_sweep);
    pool.shutdown(Duration::from_secs(5)).await.expect("an end");
}

/// Creates the sessions by messages, a thousand at a time.
async fn fill(pool: &Pool) {
    for begin in (0..SESSIONS).step_by(1000) {
        let tracked = (begin..begin + 1000).map(|n| pool.supervisor().send(TrackSession::new(format!("session-{n}"))));
        for answer in join_all(tracked).await {
            answer.expect("the pool").expect("a session");
        }
    }
}

async fn sweep(pool: Pool) -> (usize, Duration) {
    let begin = Instant::now();
    let removed = pool.supervisor().send(CleanupStaleSessions).await.expect("the pool").expect("a sweep");
    (removed, begin.elapsed())
}

/// Measures lookups through the mailbox of the affinity actor.
async fn lookups(pool: &Pool) {
    let affinity: Addr<SessionAffinityActor> = registry::lookup("sweep_session_affinity").expect("the affinity actor");
    pool.call::<Value>("count", &json!({})).session("session-7").await.expect("a call");
    for clients in [1, 8] {
        let begin = Instant::now();
        let each = 100_000 / clients;
        let client = async || {
            for _ in 0..each {
                affinity.send(GetWorker::new("session-7")).await.expect("the actor").expect("a worker");
            }
        };
        join_all((0..clients).map(|_| client())).await;
        let rate = (each * clients) as f64 / begin.elapsed().as_secs_f64();
        println!(
            "GetWorker by message, {clients} in flight: {rate:.0}/s (the original's, through its process: 546k/s, 618k/s)"
        );
    }
}

async fn echoes(pool: &Pool, span: Duration) -> Vec<f64> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < span {
        times.push(echo(pool).await);
    }
    times
}

/// Makes one call, and returns its duration in microseconds.
async fn echo(pool: &Pool) -> f64 {
    let begin = Instant::now();
    let _: Value = pool.call("echo", &json!({ "x": 1 })).await.expect("an echo");
    begin.elapsed().as_secs_f64() * 1e6
}

fn report(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("{name}: {} calls, p50 {p50:.0}, p99 {p99:.0}, p99.9 {p999:.0}, longest {:.0} us", times.len(), at(1.0));
}
