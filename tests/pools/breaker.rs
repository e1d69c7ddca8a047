//! The circuit breaker of a pool (R34): off by default, opened by counted failures, half-open, closed, and reset by request.

use crate::pools::steps::{answer, answers};
use herder::{
    Error,
    breaker::{BreakerState, Outcome},
    config::{Breaker, CountedFailures},
    testing::{LogLine, TestPool, log_lines_of, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::time::Duration;
use tracing::Level;

const LONG: Duration = Duration::from_secs(3600);

/// Starts a pool with this breaker.
async fn pool_with(hint: &str, breaker: Breaker) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", include_str!("resilience.py"));
        context
            .enhanced()
            .app("app.py:app")
            .poison(herder::config::Poison::new().enabled(false))
            .breaker(breaker)
            .build()
    })
    .await
}

/// Returns a breaker that opens after two failures and closes after one successful call.
fn enabled() -> Breaker {
    Breaker::new().enabled(true).failure_threshold(2).success_threshold(1).half_open_max_calls(1).open_duration(LONG)
}

async fn state(pool: &TestPool) -> BreakerState {
    pool.breaker().await.unwrap().unwrap().state
}

/// Sends a call that kills its worker. Returns the error.
async fn lose_a_worker(pool: &TestPool) -> Error {
    let poison = json!({ "path": pool.dir().join("runs") });
    answer(pool.call::<Value>("poison", &poison).idempotent(false).reply()).await.unwrap_err()
}

/// R34: workers that exit during calls count as connection errors. Then the breaker refuses calls at once, with the time to
/// retry after.
#[tokio::test]
async fn r34_lost_workers_open_the_breaker_and_calls_are_refused() {
    let pool = pool_with("opens", enabled()).await;
    for _ in 0..2 {
        assert!(matches!(lose_a_worker(&pool).await, Error::WorkerLost { .. }));
    }
    let error = lose_a_worker(&pool).await;
    assert_eq!((error.slug(), error.http_status(), error.may_have_run()), ("breaker-open", 503, false), "{error}");
    assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(3000)), "{error:?}");
    let status = pool.status().await.unwrap();
    let breaker = status.breaker.unwrap();
    assert_eq!((breaker.state, breaker.opened, breaker.refused), (BreakerState::Open, 1, 1));
    assert!(pool.reset_breaker().await.unwrap());
    with_timeout("a call", pool.call::<Value>("pid", &json!({}))).await.unwrap();
    for (text, level) in [("circuit breaker opened", Level::WARN), ("circuit breaker closed", Level::INFO)] {
        let is_meant = |line: &LogLine| line.message.starts_with(text) && line.level == level;
        wait_until(text, async || log_lines_of(pool.name().as_str()).iter().any(is_meant)).await;
    }
    pool.shutdown_and_check().await;
}

/// R34: exceptions, and deaths by a signal that the pool did not send, count only if they are configured.
#[tokio::test]
async fn r34_exceptions_and_signals_count_only_if_configured() {
    let all = CountedFailures { timeout: true, connection: true, signal: true, python: true };
    for (breaker, expected) in [(enabled(), BreakerState::Closed), (enabled().counts(all), BreakerState::Open)] {
        let pool = pool_with("counts", breaker).await;
        for file in ["a", "b"] {
            let fragile = json!({ "path": pool.dir().join(file), "deaths": 1 });
            let killed = pool.call::<Value>("fragile", &fragile).idempotent(false);
            assert!(matches!(answer(killed.reply()).await.unwrap_err(), Error::WorkerLost { .. }));
        }
        assert_eq!(state(&pool).await, expected, "killed");
        pool.reset_breaker().await.unwrap();
        for _ in 0..2 {
            let wrong = answer(pool.call::<Value>("wrong", &json!({})).reply()).await.unwrap_err();
            assert!(matches!(wrong, Error::Exception { .. }), "{wrong:?}");
        }
        assert_eq!(state(&pool).await, expected, "raised");
        pool.shutdown_and_check().await;
    }
}

/// R34: a trial call that is abandoned returns its permit to the next one, and a trial that succeeds closes the breaker.
/// DSPex's breaker could stay half-open for ever.
#[tokio::test]
async fn r34_breaker_never_stays_half_open() {
    let pool = pool_with("half_open", enabled().open_duration(Duration::from_millis(1))).await;
    for _ in 0..2 {
        pool.record_outcome(Outcome::Failure).await.unwrap();
    }
    wait_until("the open duration has passed", async || state(&pool).await == BreakerState::HalfOpen).await;
    for _ in 0..5 {
        let never = json!({ "path": pool.dir().join("never") });
        let trial = pool.call::<Value>("wait_for", &never).reply();
        wait_until("the trial runs", async || pool.breaker().await.unwrap().unwrap().half_open_calls == 1).await;
        let refused = answer(pool.call::<Value>("pid", &json!({})).reply()).await.unwrap_err();
        assert_eq!(refused.slug(), "breaker-open", "one trial at a time");
        drop(trial);
        wait_until("the permit is returned", async || pool.breaker().await.unwrap().unwrap().half_open_calls == 0)
            .await;
    }
    with_timeout("a trial", pool.call::<Value>("pid", &json!({}))).await.unwrap();
    assert_eq!(state(&pool).await, BreakerState::Closed);
    pool.shutdown_and_check().await;
}

/// R34: with the breaker enabled and closed, two calls run at the same time. DSPex ran all calls inside the process of the
/// breaker, one after the other.
#[tokio::test]
async fn r34_closed_breaker_lets_calls_run_at_the_same_time() {
    let pool = pool_with("together", enabled()).await;
    let gate = pool.dir().join("gate");
    let calls = (0..2).map(|_| pool.call::<Value>("wait_for", &json!({ "path": gate })));
    let replies = crate::pools::steps::submitted(&pool, calls, 2, 0).await; // both run at the same time
    std::fs::write(&gate, "").unwrap();
    assert!(answers(replies).await.iter().all(Result::is_ok));
    pool.shutdown_and_check().await;
}

/// R34: the breaker is off by default: it is not shown, and there is nothing to reset or record.
#[tokio::test]
async fn r34_breaker_is_off_by_default() {
    let pool = pool_with("none", Breaker::new()).await;
    for _ in 0..7 {
        assert!(matches!(lose_a_worker(&pool).await, Error::WorkerLost { .. }));
    }
    assert_eq!(pool.breaker().await.unwrap(), None);
    assert!(!pool.reset_breaker().await.unwrap() && !pool.record_outcome(Outcome::Failure).await.unwrap());
    assert!(pool.status().await.unwrap().breaker.is_none());
    pool.shutdown_and_check().await;
}
