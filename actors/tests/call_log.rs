//! Subscribers that block or panic, and the log of a pool that is dropped.

use crate::harness::{Harness, echo, value};
use herder_actors::{
    Error, Execute, Request, Shutdown,
    testing::{ExitStatus, HANG_TIMEOUT, wait_for_log, with_timeout},
};
use serde_json::json;
use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};
use tokio::sync::Notify;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// Blocks at its first event until it is released, like a subscriber whose writer is a full pipe.
struct Blocking {
    reached: std::sync::Arc<Notify>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Subscriber for Blocking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("herder")
    }

    fn event(&self, _: &Event<'_>) {
        self.reached.notify_one();
        let _ = self.released.lock().map(|released| released.recv());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// R22, R40: while a subscriber blocks, calls are answered, deadlines pass, sessions are kept, and workers are replaced.
#[actix::test]
async fn r40_a_blocking_subscriber_delays_no_call_and_no_deadline() {
    let reached = std::sync::Arc::new(Notify::new());
    let (release, released) = mpsc::channel();
    let _guard = tracing::subscriber::set_default(Blocking { reached: reached.clone(), released: released.into() });
    let (mut harness, mut peer) = Harness::enhanced("blocking").await;
    with_timeout("an event", reached.notified()).await; // from here on the subscriber blocks
    for number in 1..3 {
        let unknown = harness.execute(Execute::new("nothing", &json!({})));
        assert_eq!(unknown.get().await.unwrap_err().slug(), "unknown-command");
        let running = harness.in_session("ann", number);
        peer.echo().await;
        assert_eq!(value(running.get().await)["n"], number);
    }
    let mut late = Request::typed("echo", &json!({ "n": 3 }));
    late.timeout(Some(Duration::from_millis(20)));
    let late = with_timeout("its deadline", harness.client.call(late)).await.unwrap_err();
    assert!(matches!(late, Error::DeadlineExceeded { .. }), "{late:?}");
    peer.exit(ExitStatus::Code(3));
    peer = harness.launches.next().await.ready().await;
    let running = harness.execute(echo(4));
    peer.echo().await;
    assert_eq!(value(running.get().await)["n"], 4);
    assert_eq!(harness.status().await.counters.ok, 3, "the state was not rebuilt");
    peer.serve();
    let shutdown = harness.pool().send(Shutdown::new(HANG_TIMEOUT));
    with_timeout("the shutdown", shutdown).await.unwrap().unwrap();
    drop(release); // the subscriber blocked until now
}

/// Panics at each event, as `tracing_subscriber::fmt` does when its writer fails and standard error is gone.
struct Panicking;

impl Subscriber for Panicking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("herder")
    }

    fn event(&self, _: &Event<'_>) {
        panic!("failed printing to stderr");
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// R29, R40: a subscriber that panics loses only its event. The pool is not rebuilt and continues, however often the
/// subscriber panics.
#[actix::test]
async fn r40_a_panicking_subscriber_loses_only_its_event() {
    let _guard = tracing::subscriber::set_default(Panicking);
    let (mut harness, mut peer) = Harness::basic("panicking").await;
    for generation in 2..10 {
        peer.exit(ExitStatus::Code(3)); // "worker lost" is logged
        peer = harness.launches.next().await.ready().await;
        let unknown = harness.execute(herder_actors::Execute::new("nothing", &serde_json::json!({})));
        assert_eq!(unknown.get().await.unwrap_err().slug(), "unknown-command");
        let running = harness.execute(echo(generation));
        peer.echo().await;
        assert_eq!(value(running.get().await)["n"], generation);
    }
    let status = harness.status().await;
    assert_eq!(
        (status.counters.ok, status.counters.exits),
        (8, 8),
        "the counters were not reset: the state was not rebuilt"
    );
}

/// R38: calls that fail because the last address of their pool was dropped are logged.
#[actix::test]
async fn r38_calls_of_a_dropped_pool_are_logged() {
    let (harness, mut peer) = Harness::basic("dropped").await;
    let name = harness.name.clone();
    harness.pool().do_send(echo(1)); // an awaited answer would hold an address of the pool
    peer.call().await;
    drop(harness);
    wait_for_log(&["WARN", &name, "call failed", "error=pool-closed", "command=echo"]).await;
}
