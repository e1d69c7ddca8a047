//! The timeline and the events of pools of both worker types.

use super::{basic, enhanced};
use crate::pools::steps::pid;
use futures_util::FutureExt;
use herder::{
    status::{EventFeed, PoolEventKind},
    testing::{TestPool, with_timeout},
};

/// Runs a call, kills its worker and runs a call again.
async fn check(pool: TestPool) {
    let feed = pool.events().await.unwrap();
    let begin = EventFeed::read(std::slice::from_ref(&feed), 0);
    assert!(begin.events.iter().any(|event| event.kind == PoolEventKind::WorkerStarted), "{begin:?}");
    let first = pid(&pool, "ann").reply().await.unwrap();
    let process = herder::status::WorkerRef { id: first.worker, generation: first.generation };
    pool.kill_worker(process).await.unwrap();
    pool.wait_healthy("pid").await;
    with_timeout("the death is reported", EventFeed::wait(std::slice::from_ref(&feed), begin.next)).await;
    let batch = EventFeed::read(std::slice::from_ref(&feed), begin.next);
    let is_death = |event: &herder::status::PoolEvent| {
        event.kind == PoolEventKind::WorkerKilled
            && event.worker == Some(process.id)
            && event.generation == Some(process.generation)
    };
    assert!(batch.events.iter().any(|event| is_death(event)), "{batch:?}");

    let timeline = pool.timeline(0).await.unwrap();
    let call =
        timeline.calls.iter().find(|call| call.generation == process.generation && call.worker == process.id).unwrap();
    assert_eq!((call.command.as_deref(), call.outcome), (Some("pid"), Some("ok")));
    assert_eq!(call.session.as_ref().map(|session| session.as_str()), Some("ann"));
    let [death] = &timeline.deaths[..] else { panic!("{timeline:?}") };
    assert_eq!((death.worker, death.generation), (process.id, process.generation));
    let seq = timeline.calls.iter().filter_map(|call| call.seq).max();
    assert!(pool.timeline(timeline.next).await.unwrap().calls.iter().all(|call| call.seq >= seq), "only later ones");
    assert!(EventFeed::wait(std::slice::from_ref(&feed), u64::MAX).now_or_never().is_none());
    pool.shutdown_and_check().await;
    assert!(!EventFeed::read(&[feed], 0).events.is_empty(), "the events outlive the pool");
}

/// R9, R50: the timeline and the events are the pool's. They outlive its workers, and no flag of enhanced pools switches them.
#[tokio::test]
async fn timeline_and_events_exist_in_both_worker_types() {
    check(basic().await).await;
    check(enhanced(|builder| builder.session_affinity(false).worker_metrics(false).state_machine(false)).await).await;
}
