//! The harness of the fault tests: it starts a pool of two workers, one of which (the victim) will have the fault, and checks
//! afterwards who was affected. A bystander must not be affected: a call that runs on the other worker, in a session with
//! state.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use crate::faults::table::{self, Row};
use herder::{
    Error, Reply, Result,
    config::{Enhanced, PoolBuilder},
    error::Category,
    messages::BindSession,
    registry,
    session::{Routing, SessionAffinityActor},
    status::{WorkerId, WorkerRef},
    testing::{TestPool, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tokio::task::JoinHandle;

const WORKER: &str = include_str!("faults.py");

/// Drives one pool through one fault. A test creates it, causes the fault, and ends with `assert_survived` or
/// `assert_replaced`, which also check the bystander, the recovery of the pool and the row in `docs/faults.md`.
pub(crate) struct Harness {
    pub(crate) pool: TestPool,
    /// The worker process that will have the fault. The session `victim` is bound to it and has counted to 1.
    pub(crate) victim: WorkerRef,
    other: WorkerRef,
    bystander: JoinHandle<Result<Reply>>,
}

/// The properties that an error must have.
pub(crate) struct Expected<'a> {
    pub(crate) category: Category,
    pub(crate) status: u16,
    /// Parts of the error's text.
    pub(crate) contains: &'a [&'a str],
}

/// Whether a call of the session `victim` has already got the error for its lost worker (R20: exactly one loss report).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossReport {
    Already,
    NotYet,
}

const NO_ONE: &str = "nobody";
const VICTIM: WorkerId = WorkerId(1);
const OTHER: WorkerId = WorkerId(2);

impl Harness {
    pub(crate) async fn new(hint: &str) -> Self {
        Self::with_settings(hint, |builder| builder).await
    }

    /// Creates a harness whose pool has additional settings.
    pub(crate) async fn with_settings(
        hint: &str,
        settings: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>,
    ) -> Self {
        let pool = pool(hint, |context| {
            context.file("faults.py", WORKER);
            settings(context.enhanced().app("faults.py:app")).build()
        })
        .await;
        let victim = bind(&pool, "victim", VICTIM).await;
        let other = bind(&pool, "bystander", OTHER).await;
        for session in ["victim", "bystander"] {
            assert_eq!(count(&pool, session).await.unwrap().0, 1);
        }
        let gate = pool.dir().join("open");
        let call = pool.call::<u32>("gate", &json!({ "path": gate })).session("bystander").reply();
        let bystander = tokio::spawn(call);
        wait_until("the bystander runs", async || pool.worker(other).await.is_some_and(|worker| worker.in_flight == 1))
            .await;
        // The pipes must be recorded before the fault: afterwards the victim's may already be closed.
        pool.processes().record_pipes();
        Self { pool, victim, other, bystander }
    }

    /// Returns a path in the pool's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.pool.dir().join(name)
    }

    /// Sends a call without a session. It runs on the victim, because the other worker is busy. The arguments are encoded as
    /// JSON here, so that the rows of the table do not depend on the encodings that this Python supports.
    pub(crate) async fn call(&self, command: &str, arguments: Value) -> Result<Reply> {
        let json = serde_json::to_vec(&arguments).unwrap();
        with_timeout(command, self.pool.call_json::<Value>(command, json.into()).reply()).await
    }

    /// Sends a call whose handler creates the file `running` and then runs beyond its deadline; returns the error. On a slow
    /// machine the deadline can pass before the handler starts, so each attempt has twice the deadline until the file is there.
    pub(crate) async fn exceed_deadline(&self, command: &str, arguments: Value, session: Option<&str>) -> Error {
        let mut deadline = Duration::from_millis(500);
        loop {
            let call = self.pool.call::<Value>(command, &arguments).timeout(deadline);
            let call = session.into_iter().fold(call, herder::Call::session);
            let error = with_timeout(command, call.reply()).await.unwrap_err();
            assert_error(
                &error,
                &Expected { category: Category::Timeout, status: 504, contains: &["deadline", "may have run"] },
            );
            assert!(matches!(error, Error::DeadlineExceeded { may_have_run: true, .. }));
            if self.path("running").exists() {
                return error;
            }
            deadline *= 2;
        }
    }

    /// Sends a call in the session `victim`.
    pub(crate) async fn call_in_session(&self, command: &str, arguments: Value) -> Result<Reply> {
        with_timeout(command, self.pool.call::<Value>(command, &arguments).session("victim").reply()).await
    }

    /// Starts a call and waits until its handler runs, that is, until the handler has created the file `running`.
    pub(crate) async fn start_call(&self, command: &str) -> JoinHandle<Result<Reply>> {
        let path = self.path("running");
        let reply = self.pool.call::<Value>(command, &json!({ "path": path })).reply();
        let call = tokio::spawn(reply);
        wait_until("the handler runs", async || path.exists()).await;
        call
    }

    pub(crate) async fn victim_pid(&self) -> u32 {
        self.pool.pid(self.victim).await
    }

    /// Asserts that the worker still runs with its session's state, that no one else was affected, and that the pool is
    /// healthy. `error` is what the caller of the faulty call got.
    pub(crate) async fn assert_survived(self, fault: &'static str, error: &Error) {
        let (outcome, status) = (self.error_cell(error), error.http_status().to_string());
        self.check_survival(fault, outcome, status).await;
    }

    /// Like [`assert_survived`](Self::assert_survived), for a fault whose caller still gets a result. `result` describes it.
    pub(crate) async fn assert_survived_with_result(self, fault: &'static str, result: &str) {
        self.check_survival(fault, table::result_cell(result), "200".into()).await;
    }

    /// Like [`assert_survived`](Self::assert_survived), for a fault after which no caller waits for an outcome any more.
    pub(crate) async fn assert_survived_without_caller(self, fault: &'static str, outcome: &str) {
        self.check_survival(fault, outcome.into(), "none".into()).await;
    }

    async fn check_survival(self, fault: &'static str, outcome: String, status: String) {
        let (number, worker, routing) = count(&self.pool, "victim").await.unwrap();
        assert_eq!(
            (number, worker, routing),
            (2, self.victim, Routing::Hit),
            "the same process still has the session's state"
        );
        let row = Row { fault, outcome, status, affected: NO_ONE, recovery: "yes, the same process" };
        self.finish(&row).await;
    }

    /// Asserts that the worker was replaced: its session gets exactly one loss report and then a new state, no one else was
    /// affected, and the pool is healthy. `error` is what the caller of the faulty call got.
    pub(crate) async fn assert_replaced(self, fault: &'static str, error: &Error, loss: LossReport) {
        let (outcome, status) = (self.error_cell(error), error.http_status().to_string());
        self.check_replacement(fault, outcome, status, loss).await;
    }

    /// Like [`assert_replaced`](Self::assert_replaced), for a fault whose caller still gets a result. `result` describes it.
    pub(crate) async fn assert_replaced_with_result(self, fault: &'static str, result: &str) {
        self.check_replacement(fault, table::result_cell(result), "200".into(), LossReport::NotYet).await;
    }

    async fn check_replacement(self, fault: &'static str, outcome: String, status: String, loss: LossReport) {
        let affected = match loss {
            LossReport::Already => NO_ONE,
            LossReport::NotYet => {
                self.assert_loss_reported_once().await;
                "the session bound to the worker: one error, for its next call"
            }
        };
        let (number, worker, routing) = count(&self.pool, "victim").await.unwrap();
        assert_eq!(number, 1, "a new state");
        assert_eq!(routing.as_str(), "rebound");
        assert!(worker != self.victim && worker != self.other, "{worker} is a new process");
        let row = Row { fault, outcome, status, affected, recovery: "yes, a new process" };
        self.finish(&row).await;
    }

    async fn assert_loss_reported_once(&self) {
        wait_until("the death is noticed", async || self.pool.worker(self.victim).await.is_none()).await;
        let error = count(&self.pool, "victim").await.unwrap_err();
        let Error::SessionWorkerLost { session, worker, generation, may_have_run, .. } = &error else {
            panic!("expected a loss report, got {error:?}")
        };
        assert_eq!((session.as_str(), *worker, *generation), ("victim", self.victim.id, self.victim.generation));
        assert!(!may_have_run, "this call was never sent");
        assert_eq!((error.http_status(), error.category()), (410, Category::Session));
    }

    /// Asserts that the bystander was not affected, that the pool is healthy, and that its shutdown leaves nothing. Then checks
    /// the row.
    async fn finish(self, row: &Row<'_>) {
        let Self { pool, victim: _, other, bystander } = self;
        // The bystander ran during the whole fault. Its one attempt on the same process proves that nothing interrupted it.
        fs::write(pool.dir().join("open"), "").unwrap();
        let reply = with_timeout("the bystander", bystander).await.unwrap().unwrap();
        assert_eq!((reply.worker, reply.generation, reply.attempts), (other.id, other.generation, 1));
        let (number, worker, routing) = count(&pool, "bystander").await.unwrap();
        assert_eq!((number, worker, routing), (2, other, Routing::Hit), "the bystander's session is unchanged");
        pool.wait_healthy("ok").await;
        pool.shutdown_and_check().await;
        row.check();
    }

    fn error_cell(&self, error: &Error) -> String {
        let (dir, pool) = (self.pool.dir().display().to_string(), self.pool.name().to_string());
        table::error_cell(error, &[(&dir, "DIR"), (&pool, "POOL")])
    }
}

async fn bind(pool: &TestPool, session: &str, worker: WorkerId) -> WorkerRef {
    let name = format!("{}_session_affinity", pool.name());
    let affinity = registry::lookup::<SessionAffinityActor>(&name).unwrap();
    affinity.send(BindSession::new(session, worker)).await.unwrap().unwrap()
}

async fn count(pool: &TestPool, session: &str) -> Result<(u64, WorkerRef, Routing)> {
    let reply = with_timeout("count", pool.call::<u64>("count", &json!({})).session(session).reply()).await?;
    Ok((reply.decode()?, reply.process(), reply.routing))
}

/// Asserts the category, the status and parts of the text, and that the machine-readable form has the same text and status. That of
/// a rejection has the handler's message alone.
pub(crate) fn assert_error(error: &Error, expected: &Expected<'_>) {
    let text = error.to_string();
    assert_eq!((error.category(), error.http_status()), (expected.category, expected.status), "{text}");
    for part in expected.contains {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
    let problem = error.problem();
    let detail = text.strip_prefix("rejected: ").unwrap_or(&text);
    assert_eq!((problem.detail.as_str(), problem.status), (detail, expected.status));
}

/// Asserts that the error is the `WorkerLost` of this process.
pub(crate) fn assert_lost(error: &Error, victim: WorkerRef, contains: &[&str]) {
    assert_error(error, &Expected { category: Category::Connection, status: 502, contains });
    assert!(matches!(error, Error::WorkerLost { may_have_run: true, .. }), "{error:?}");
    assert_eq!(error.worker(), Some(victim));
    assert!(error.is_retryable());
}

/// Asserts that a line in the tail of stderr contains this text.
pub(crate) fn assert_stderr_tail(error: &Error, line: &str) {
    let tail = &error.report().unwrap().stderr_tail;
    assert!(tail.iter().any(|shown| shown.contains(line)), "{line:?} is missing in {tail:?}");
}
