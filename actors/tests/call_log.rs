//! Subscribers that misbehave on the pool's own thread, and what the log has of a pool that is dropped.

use crate::stage::{Stage, echo, value};
use herder_actors::testing::{ExitStatus, logged};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

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

/// R29, R40: a subscriber that panics costs its event. The pool is not built anew, and goes on, however often.
#[actix::test]
async fn r40_a_subscriber_that_panics_costs_its_event() {
    let _guard = tracing::subscriber::set_default(Panicking);
    let (mut stage, mut peer) = Stage::basic("panicking").await;
    for generation in 2..10 {
        peer.exit(ExitStatus::Code(3)); // "worker lost" is logged
        peer = stage.launches.next().await.ready().await;
        let unknown = stage.execute(herder_actors::Execute::new("nothing", &serde_json::json!({})));
        assert_eq!(unknown.get().await.unwrap_err().slug(), "unknown-command");
        let running = stage.execute(echo(generation));
        peer.echo().await;
        assert_eq!(value(running.get().await)["n"], generation);
    }
    let status = stage.status().await;
    assert_eq!((status.counters.ok, status.counters.exits), (8, 8), "counters survive: the state was never built anew");
}

/// R38: calls that end with the last address of their pool are logged as well.
#[actix::test]
async fn r38_calls_that_end_with_their_pool_are_logged() {
    let (stage, mut peer) = Stage::basic("dropped").await;
    let name = stage.name.clone();
    stage.pool().do_send(echo(1)); // who awaits the answer would keep the pool
    peer.call().await;
    drop(stage);
    logged(&["INFO", &name, "call refused", "error=pool-closed", "command=echo"]).await;
}
