//! The circuit breaker of a whole pool (R34): off unless asked for, opened by what counts, tried, closed, reset by hand.

use crate::pools::steps::{answer, answers};
use herder::testing::{TestPool, pool, wait_until, with_timeout};
use herder::{Breaker, BreakerState, CountedFailures, Error, Outcome};
use serde_json::{Value, json};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

async fn with(hint: &str, breaker: Breaker) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", include_str!("resilience.py"));
        context.enhanced().app("app.py:app").poison(herder::Poison::new().enabled(false)).breaker(breaker).build()
    })
    .await
}

fn on() -> Breaker {
    Breaker::new().enabled(true).failure_threshold(2).success_threshold(1).half_open_max_calls(1).open_duration(LONG)
}

async fn state(pool: &TestPool) -> BreakerState {
    pool.breaker().await.unwrap().unwrap().state
}

async fn lose_one(pool: &TestPool) -> Error {
    let poison = json!({ "path": pool.dir().join("runs") });
    answer(pool.call::<Value>("poison", &poison).idempotent(false).reply()).await.unwrap_err()
}

/// R34: workers that exit under their calls are connection errors; then calls are refused at once, with when to come again.
#[tokio::test]
async fn r34_lost_workers_open_it_and_calls_are_refused_at_once() {
    let pool = with("opens", on()).await;
    for _ in 0..2 {
        assert!(matches!(lose_one(&pool).await, Error::WorkerLost { .. }));
    }
    let error = lose_one(&pool).await;
    assert_eq!((error.slug(), error.http_status(), error.may_have_run()), ("breaker-open", 503, false), "{error}");
    assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(3000)), "{error:?}");
    let status = pool.status().await.unwrap();
    let breaker = status.breaker.unwrap();
    assert_eq!((breaker.state, breaker.opened, breaker.refused), (BreakerState::Open, 1, 1));
    assert!(pool.reset_breaker().await.unwrap());
    with_timeout("a call", pool.call::<Value>("pid", &json!({}))).await.unwrap();
    pool.end().await;
}

/// R34: exceptions and deaths by a signal from elsewhere do not count, unless told.
#[tokio::test]
async fn r34_exceptions_and_signals_count_only_if_configured() {
    let all = CountedFailures { timeout: true, connection: true, signal: true, python: true };
    for (breaker, expected) in [(on(), BreakerState::Closed), (on().counts(all), BreakerState::Open)] {
        let pool = with("counts", breaker).await;
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
        pool.end().await;
    }
}

/// R34, the origin stuck half-open: trials whose callers leave make room for the next, and one that succeeds closes it.
#[tokio::test]
async fn r34_breaker_never_stays_half_open() {
    let pool = with("half_open", on().open_duration(Duration::from_millis(1))).await;
    for _ in 0..2 {
        pool.record_outcome(Outcome::Failure).await.unwrap();
    }
    wait_until("its time is over", async || state(&pool).await == BreakerState::HalfOpen).await;
    for _ in 0..5 {
        let never = json!({ "path": pool.dir().join("never") });
        let trial = pool.call::<Value>("wait_for", &never).reply();
        wait_until("it is under way", async || pool.breaker().await.unwrap().unwrap().half_open_calls == 1).await;
        let refused = answer(pool.call::<Value>("pid", &json!({})).reply()).await.unwrap_err();
        assert_eq!(refused.slug(), "breaker-open", "one trial at a time");
        drop(trial);
        wait_until("its permit is back", async || pool.breaker().await.unwrap().unwrap().half_open_calls == 0).await;
    }
    with_timeout("a trial", pool.call::<Value>("pid", &json!({}))).await.unwrap();
    assert_eq!(state(&pool).await, BreakerState::Closed);
    pool.end().await;
}

/// R34, the origin ran calls inside the breaker's own process: with it on, two calls still run at the same time.
#[tokio::test]
async fn r34_calls_do_not_pass_through_it_one_by_one() {
    let pool = with("together", on()).await;
    let gate = pool.dir().join("gate");
    let calls = (0..2).map(|_| pool.call::<Value>("wait_for", &json!({ "path": gate })));
    let replies = crate::pools::steps::submitted(&pool, calls, 2, 0).await; // both in flight
    std::fs::write(&gate, "").unwrap();
    assert!(answers(replies).await.iter().all(Result::is_ok));
    pool.end().await;
}

/// R34: off by default: there is nothing to show, reset or record.
#[tokio::test]
async fn r34_breaker_is_off_by_default() {
    let pool = with("none", Breaker::new()).await;
    for _ in 0..7 {
        assert!(matches!(lose_one(&pool).await, Error::WorkerLost { .. }));
    }
    assert_eq!(pool.breaker().await.unwrap(), None);
    assert!(!pool.reset_breaker().await.unwrap() && !pool.record_outcome(Outcome::Failure).await.unwrap());
    assert!(pool.status().await.unwrap().breaker.is_none());
    pool.end().await;
}
