//! Calls of a session run on the worker that holds its state (R14, R15, R18, R22).

use crate::pools::steps::{affinity_of, bind, count, place, process};
use futures_util::future::try_join_all;
use herder::{
    Error,
    config::Sessions,
    messages::{
        EndSession, GetSessionState, GetStats, GetWorker, RemoveWorkerSessions, SessionStatus, TrackSession,
        UnbindSession, UpdateSessionActivity,
    },
    session::{IfAbsent, Routing},
    status::WorkerId,
    testing::{pool, with_timeout},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 64;
const SESSIONS: usize = 200;
const VISITS: usize = 25;

/// R18: 64 clients share 200 sessions on 4 workers. All calls of a session run in one process, and its counter is exact.
#[tokio::test(flavor = "multi_thread")]
async fn r18_every_session_sees_one_process_and_counts_exactly() {
    let pool = pool("many", |context| context.enhanced().app("herder.demo:app").pool_size(4).build()).await;
    let client = async |number: usize| {
        let mut seen = Vec::new();
        for visit in 0..VISITS {
            let session = format!("s{}", (number * VISITS + visit * 8) % SESSIONS);
            let counted = count(&pool, &session).await?;
            let pid: u32 = pool.call("pid", &json!({})).session(&session).await?;
            seen.push((session, counted, pid));
        }
        Ok::<_, Error>(seen)
    };
    let seen = with_timeout("all clients", try_join_all((0..CLIENTS).map(client))).await.unwrap();
    let (mut counts, mut pids) = (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::<_, BTreeSet<u32>>::new());
    for (session, counted, pid) in seen.into_iter().flatten() {
        counts.entry(session.clone()).or_default().push(counted);
        pids.entry(session).or_default().insert(pid);
    }
    assert_eq!(counts.len(), SESSIONS);
    for (session, mut counted) in counts {
        counted.sort_unstable();
        assert_eq!(counted, (1..=counted.len() as u64).collect::<Vec<_>>(), "{session}");
    }
    assert!(pids.values().all(|pids| pids.len() == 1), "{pids:?}");
    assert_eq!(pids.values().flatten().collect::<BTreeSet<_>>().len(), 4, "all workers share the sessions");
    let affinity = pool.status().await.unwrap().session_affinity;
    assert_eq!((affinity.total_sessions(), affinity.workers_with_sessions()), (SESSIONS, 4));
    pool.shutdown_and_check().await;
}

/// R14, R15, R18: a binding decides where the next call runs. An unbound or removed session starts with a new state.
#[tokio::test]
async fn r14_calls_run_where_the_affinity_actor_bound_their_session() {
    let pool = pool("bind", |context| context.enhanced().app("herder.demo:app").pool_size(3).build()).await;
    let affinity = affinity_of(&pool);
    for worker in [3, 1, 2] {
        let session = format!("to-{worker}");
        assert_eq!(bind(&pool, &session, worker).await, process(worker, 1));
        let reply = count(&pool, &session).reply().await.unwrap();
        assert_eq!((place(&reply), reply.routing), (process(worker, 1), Routing::Hit));
        assert_eq!(affinity.send(GetWorker::new(&session)).await.unwrap().unwrap(), process(worker, 1));
    }
    assert_eq!(affinity.send(GetStats).await.unwrap().unwrap().total_sessions, 3);
    // The state of a session does not move with it.
    assert_eq!(bind(&pool, "to-1", 2).await, process(2, 1));
    let reply = count(&pool, "to-1").reply().await.unwrap();
    assert_eq!((place(&reply), reply.decode::<u64>().unwrap()), (process(2, 1), 1));

    assert!(affinity.send(UnbindSession::new("to-3")).await.unwrap().unwrap());
    assert!(!affinity.send(UnbindSession::new("to-3")).await.unwrap().unwrap());
    let unbound = affinity.send(GetWorker::new("to-3")).await.unwrap();
    assert!(matches!(unbound, Err(Error::SessionNotFound { .. })), "{unbound:?}");
    assert_eq!(count(&pool, "to-3").await.unwrap(), 1);

    assert_eq!(affinity.send(RemoveWorkerSessions::new(WorkerId(2))).await.unwrap().unwrap(), 2);
    for session in ["to-1", "to-2"] {
        assert_eq!(count(&pool, session).await.unwrap(), 1, "{session}");
    }
    assert!(matches!(affinity.send(GetWorker::new("nobody")).await.unwrap(), Err(Error::SessionNotFound { .. })));
    pool.shutdown_and_check().await;
}

/// R14: a session cannot be bound to a worker that the pool does not have, and the refused binding creates no session.
#[tokio::test]
async fn r14_binding_to_an_unknown_worker_is_an_error() {
    let pool = pool("bindno", |context| context.enhanced().app("herder.demo:app").build()).await;
    let message = herder::messages::BindSession::new("ann", WorkerId(9));
    let refused = affinity_of(&pool).send(message).await.unwrap();
    assert!(matches!(&refused, Err(Error::Bind(_))), "{refused:?}");
    let state = affinity_of(&pool).send(GetSessionState::new("ann")).await.unwrap().unwrap();
    assert_eq!(state, SessionStatus::NotFound);
    pool.shutdown_and_check().await;
}

/// R16: a call with `IfAbsent::Reject` runs only in a session that exists.
#[tokio::test]
async fn r16_call_with_reject_does_not_create_a_session() {
    let pool = pool("absent", |context| context.enhanced().app("herder.demo:app").build()).await;
    let strict = || count(&pool, "ann").if_absent(IfAbsent::Reject);
    assert!(matches!(strict().await, Err(Error::SessionNotFound { .. })));
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    assert_eq!(strict().await.unwrap(), 2);
    pool.shutdown_and_check().await;
}

/// R22: `sessions.max` limits the number of sessions. A session that ended frees its place.
#[tokio::test]
async fn r22_new_sessions_beyond_the_limit_are_refused() {
    let sessions = Sessions::new().max(2);
    let pool = pool("quota", |context| context.enhanced().app("herder.demo:app").sessions(sessions).build()).await;
    for session in ["ann", "bob"] {
        count(&pool, session).await.unwrap();
    }
    assert!(matches!(count(&pool, "eve").await, Err(Error::SessionQuota { max: 2 })));
    assert_eq!(count(&pool, "ann").await.unwrap(), 2);
    assert!(pool.end_session("ann").await.unwrap());
    assert_eq!(count(&pool, "eve").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}

/// R22: a pool of either worker type tracks its sessions: it creates, renews, counts, lists and ends them.
#[tokio::test]
async fn r22_sessions_are_tracked_listed_and_ended_in_both_worker_types() {
    let basic = pool("tracked", |context| context.basic().app("herder.demo:app").build()).await;
    let enhanced = pool("tracked", |context| context.enhanced().app("herder.demo:app").build()).await;
    for pool in [basic, enhanced] {
        let supervisor = pool.supervisor();
        assert_eq!(supervisor.send(TrackSession::new("ann")).await.unwrap().unwrap().operations, 0);
        for session in ["ann", "bob", "ann"] {
            pool.call::<u32>("pid", &json!({})).session(session).await.unwrap();
        }
        assert!(supervisor.send(UpdateSessionActivity::new("bob")).await.unwrap().unwrap());
        assert!(!supervisor.send(UpdateSessionActivity::new("eve")).await.unwrap().unwrap());
        assert_eq!(pool.session("ann").await.unwrap().unwrap().operations, 2);
        assert_eq!(pool.session("eve").await.unwrap(), None);
        let first = pool.sessions(0, 1).await.unwrap();
        let second = pool.sessions(first.next.unwrap(), 9).await.unwrap();
        let infos = first.sessions.iter().chain(&second.sessions);
        let names: BTreeSet<String> = infos.map(|info| info.id.to_string()).collect();
        assert_eq!(names, ["ann", "bob"].map(String::from).into());
        assert_eq!(pool.status().await.unwrap().active_sessions, 2);
        assert!(supervisor.send(EndSession::new("ann")).await.unwrap().unwrap());
        assert!(!supervisor.send(EndSession::new("ann")).await.unwrap().unwrap());
        assert_eq!(pool.status().await.unwrap().active_sessions, 1);
        pool.shutdown_and_check().await;
    }
}
