//! The registry: names of live actors (R3, R4). The actors are the test's own, or pools with scripted workers.

use crate::harness::*;
use actix::{Actor, ActorContext, Addr, Context, Handler, Message};
use herder_actors::testing::*;
use herder_actors::{
    BindSession, CleanupStaleSessions, EndSession, Error, GetPoolName, GetSessionInfo, GetStatus, HealthCheck,
    KillWorker, ListSessions, ListWorkers, PoolState, PoolSupervisor, SessionAffinityActor, Shutdown, TrackSession,
    UpdateSessionActivity, WaitReady, WorkerId, registry,
};

struct Named;

impl Actor for Named {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Nothing,
    Stop,
    Panic,
}

impl Handler<Do> for Named {
    type Result = ();

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        match what {
            Do::Nothing => {}
            Do::Stop => ctx.stop(),
            Do::Panic => panic!("requested by the test"),
        }
    }
}

/// R3: an actor is found by its name and its type, from any thread, and not by another type.
#[actix::test]
async fn r3_actors_are_found_by_name_and_type() {
    let (name, actor) = (unique_name("found"), Named.start());
    assert!(registry::lookup::<Named>(&name).is_none());
    let (held, how) = registry::register(&name, &actor).unwrap();
    assert_eq!(how, registry::Registered::New);
    assert_eq!(registry::lookup::<Named>(&name), Some(actor.clone()));
    assert!(registry::lookup::<SessionAffinityActor>(&name).is_none(), "another type");
    let (there, theirs) = (name.clone(), actor.clone());
    std::thread::spawn(move || assert_eq!(registry::lookup::<Named>(&there), Some(theirs))).join().unwrap();
    drop(held);
    assert!(registry::lookup::<Named>(&name).is_none(), "the name was released");
    actor.send(Do::Nothing).await.unwrap();
}

/// R4: the name of a live actor cannot be taken. The entry of a dead actor is replaced, and dropping its registration does
/// not release the successor's name.
#[actix::test]
async fn r4_a_dead_actors_entry_is_replaced_and_cannot_release_its_successors_name() {
    for end in [Do::Stop, Do::Panic] {
        let (name, old) = (unique_name("evicted"), Named.start());
        let (old_registration, _) = registry::register(&name, &old).unwrap();
        let second = Named.start();
        assert_eq!(registry::register(&name, &second).unwrap_err(), registry::NameTaken(name.clone()));
        let _ = old.send(end).await;
        wait_until("the actor has stopped", async || !old.connected()).await;
        assert!(registry::lookup::<Named>(&name).is_none(), "its address still exists, but the actor has stopped");
        let (_registration, how) = registry::register(&name, &second).unwrap();
        assert_eq!(how, registry::Registered::ReplacedDead);
        drop(old_registration);
        assert_eq!(registry::lookup::<Named>(&name), Some(second));
    }
}

/// A registration does not keep its actor alive.
#[actix::test]
async fn a_registration_does_not_keep_its_actor_alive() {
    let (name, actor) = (unique_name("weak"), Named.start());
    let _held = registry::register(&name, &actor).unwrap();
    let weak = actor.downgrade();
    drop(actor);
    wait_until("the actor is dropped", async || weak.upgrade().is_none()).await;
}

/// R4: every message to a second live pool of the same name fails with `PoolNameTaken`. The first pool is not affected; when
/// it has stopped, the name is free.
#[actix::test]
async fn r4_a_second_live_pool_of_one_name_is_refused() {
    let (harness, peer) = Harness::enhanced("twice").await;
    let second = Harness::start(enhanced(&harness.name).build().unwrap());
    let pool = second.pool();
    let assert_taken =
        |error: Error| assert!(matches!(&error, Error::PoolNameTaken { pool } if *pool == harness.name), "{error:?}");
    assert_taken(pool.send(WaitReady).await.unwrap().unwrap_err());
    assert_taken(second.execute(echo(1)).get().await.unwrap_err());
    assert_taken(second.in_session("ann", 1).get().await.unwrap_err());
    assert_taken(second.call(1).await.unwrap_err());
    assert_taken(pool.send(HealthCheck).await.unwrap().unwrap_err());
    assert_taken(pool.send(ListWorkers).await.unwrap().unwrap_err());
    assert_taken(pool.send(KillWorker::new(process(1, 1))).await.unwrap().unwrap_err());
    assert_taken(pool.send(TrackSession::new("ann")).await.unwrap().unwrap_err());
    assert_taken(pool.send(UpdateSessionActivity::new("ann")).await.unwrap().unwrap_err());
    assert_taken(pool.send(GetSessionInfo::new("ann")).await.unwrap().unwrap_err());
    assert_taken(pool.send(EndSession::new("ann")).await.unwrap().unwrap_err());
    assert_taken(pool.send(CleanupStaleSessions).await.unwrap().unwrap_err());
    assert_taken(pool.send(ListSessions::new(1)).await.unwrap().unwrap_err());
    assert_taken(pool.send(Shutdown::new(HANG_TIMEOUT)).await.unwrap().unwrap_err());
    assert_eq!(pool.send(GetPoolName).await.unwrap().as_str(), harness.name);
    let status = pool.send(GetStatus).await.unwrap();
    assert_eq!((status.state, status.workers.len()), (PoolState::Failed, 0));
    assert!(status.last_start_error.unwrap().contains("already running"));
    wait_for_log(&[&harness.name, "ERROR", "pool not started: its name is taken"]).await;

    assert_eq!(registry::lookup::<PoolSupervisor>(&harness.name).as_ref(), Some(harness.pool()));
    peer.serve();
    harness.execute(echo(1)).get().await.unwrap();
    drop(second);
    harness.pool().send(Shutdown::new(HANG_TIMEOUT)).await.unwrap().unwrap();
    let third = Harness::start(enhanced(&harness.name).build().unwrap());
    third.pool().send(HealthCheck).await.unwrap().expect("the name is free as soon as the shutdown was answered");
    assert!(registry::lookup::<SessionAffinityActor>(&format!("{}_session_affinity", harness.name)).is_some());
}

/// R4: when another actor has the affinity actor's name, the pool logs a warning and serves.
#[actix::test]
async fn r4_a_pool_serves_when_its_affinity_actors_name_is_taken() {
    let name = unique_name("occupied");
    let other: Addr<Named> = Named.start();
    let _held = registry::register(format!("{name}_session_affinity"), &other).unwrap();
    let mut harness = Harness::start(enhanced(&name).build().unwrap());
    harness.serve(1).await;
    harness.wait_healthy().await;
    harness.in_session("ann", 1).get().await.unwrap();
    assert!(harness.status().await.session_affinity.is_empty(), "unavailable");
    wait_for_log(&[&name, "WARN", "session affinity actor is not registered: its name is taken"]).await;
}

/// R4: when a dead actor's registration has the affinity actor's name, the entry is replaced, and dropping the registration
/// does not release the name.
#[actix::test]
async fn r4_a_dead_actors_entry_is_replaced_by_the_affinity_actor() {
    let name = unique_name("leftover");
    let affinity_name = format!("{name}_session_affinity");
    let dead = Named.start();
    let (leftover, _) = registry::register(&affinity_name, &dead).unwrap();
    let _ = dead.send(Do::Panic).await;
    wait_until("the actor has stopped", async || !dead.connected()).await;
    let mut harness = Harness::start(enhanced(&name).build().unwrap());
    harness.serve(1).await;
    harness.wait_healthy().await;
    wait_for_log(&[&name, "DEBUG", "session affinity started; replaced the registration of a stopped actor"]).await;
    drop(leftover);
    let affinity = registry::lookup::<SessionAffinityActor>(&affinity_name).unwrap();
    let bind = BindSession::new("ann", WorkerId(1));
    assert_eq!(affinity.send(bind).await.unwrap().unwrap(), process(1, 1));
}

/// Starts the shutdown of a pool whose worker does not exit.
async fn start_shutdown(harness: &Harness) -> tokio::task::JoinHandle<Result<(), Error>> {
    let shutdown = harness.pool().send(Shutdown::new(HANG_TIMEOUT));
    let shutdown = actix_rt::spawn(async move { shutdown.await?.map(drop) });
    wait_until("the pool is ending", async || harness.status().await.state == PoolState::Draining).await;
    shutdown
}

/// Starts a pool of this name while another pool has it, and asks whether it got the name.
fn start_successor(name: &str) -> (Harness, tokio::task::JoinHandle<Result<(), Error>>) {
    let harness = Harness::start(enhanced(name).build().unwrap());
    let health = harness.pool().send(HealthCheck);
    (harness, actix_rt::spawn(async move { health.await?.map(drop) }))
}

/// R4: a pool waits at its start while another pool of its name is ending. Of two that wait, one gets the name; the other
/// fails because a live pool has it.
#[actix::test]
async fn r4_a_start_waits_while_a_pool_of_its_name_is_ending() {
    let (harness, mut peer) = Harness::enhanced("ending").await;
    let name = harness.name.clone();
    let running = harness.execute(echo(1));
    let shutdown = start_shutdown(&harness).await;
    let successors = [start_successor(&name), start_successor(&name)];
    // A message to one of them waits as well.
    assert!(successors.iter().all(|(_, health)| !health.is_finished()));
    let other = Harness::start(enhanced(&unique_name("beside")).build().unwrap());
    other.pool().send(HealthCheck).await.unwrap().expect("a pool of another name does not wait");
    assert!(successors.iter().all(|(_, health)| !health.is_finished()));
    peer.echo().await;
    peer.exit(ExitStatus::Code(0));
    running.get().await.unwrap();
    with_timeout("the shutdown", shutdown).await.unwrap().unwrap();
    let mut outcomes = Vec::new();
    let mut kept = Vec::new();
    for (harness, health) in successors {
        outcomes.push(with_timeout("an answer", health).await.unwrap());
        kept.push(harness);
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let refused = outcomes.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(&refused, Error::PoolNameTaken { pool } if *pool == name), "{refused:?}");
}

/// R4: a pool without an address is ending, too. A pool that is dropped while it waits for the name does not take it.
#[actix::test]
async fn r4_a_pool_dropped_while_it_waits_takes_no_name() {
    let (harness, mut peer) = Harness::enhanced("left").await;
    let name = harness.name.clone();
    let running = harness.execute(echo(1));
    let shutdown = start_shutdown(&harness).await;
    let (mut dropped, health) = start_successor(&name);
    health.abort();
    let launches = std::mem::replace(&mut dropped.launches, FakeWorkers::new().1);
    drop((dropped, health));
    peer.echo().await;
    peer.exit(ExitStatus::Code(0));
    running.get().await.unwrap();
    with_timeout("the shutdown", shutdown).await.unwrap().unwrap();
    drop(harness);
    let (last, health) = start_successor(&name);
    with_timeout("an answer", health).await.unwrap().expect("no other pool has the name");
    let (_again, health) = start_successor(&name); // asks for the name before the last pool has noticed that it has no address
    drop(last);
    with_timeout("an answer", health).await.unwrap().expect("the last pool has no address left");
    drop(launches);
}

/// R4, R32: a pool that does not end within the next pool's start timeout is reported as ending; the start can be retried.
#[actix::test]
async fn r4_a_start_fails_if_the_ending_pool_exceeds_its_start_timeout() {
    let (harness, _peer) = Harness::enhanced("slow").await;
    let _running = harness.execute(echo(1));
    let _shutdown = start_shutdown(&harness).await;
    let config = enhanced(&harness.name).start_timeout(std::time::Duration::from_millis(20)).build().unwrap();
    let second = Harness::start(config);
    let error = with_timeout("an answer", second.pool().send(HealthCheck)).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::PoolEnding { pool } if *pool == harness.name), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(second.execute(echo(1)).get().await.unwrap_err().slug(), "pool-ending");
}
