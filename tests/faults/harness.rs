//! The scene of a fault: a pool of two workers, one of which will have the fault, and a bystander who must not notice: a call that
//! runs on the other worker, in a session whose state must stay. Holds the pool, and who is bound where.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use crate::faults::table::{self, Row};
use herder::testing::{TestPool, pool, wait_until, with_timeout};
use herder::{
    BindSession, Category, Enhanced, Error, PoolBuilder, Reply, Result, Routing, SessionAffinityActor, WorkerId,
    WorkerRef, registry,
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tokio::task::JoinHandle;

const WORKER: &str = include_str!("faults.py");

pub(crate) struct Harness {
    pub(crate) pool: TestPool,
    /// The process that will have the fault. The session `victim` is bound to it and has counted to 1.
    pub(crate) victim: WorkerRef,
    other: WorkerRef,
    bystander: JoinHandle<Result<Reply>>,
}

/// What an error must be.
pub(crate) struct Expected<'a> {
    pub(crate) category: Category,
    pub(crate) status: u16,
    pub(crate) says: &'a [&'a str],
}

/// Whether the session `victim` has heard of its worker's death already (R20: told exactly once).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossReport {
    Already,
    NotYet,
}

const NOBODY: &str = "nobody";
const VICTIM: WorkerId = WorkerId(1);
const OTHER: WorkerId = WorkerId(2);

impl Harness {
    pub(crate) async fn new(hint: &str) -> Self {
        Self::with(hint, |builder| builder).await
    }

    /// A scene whose pool has something special.
    pub(crate) async fn with(hint: &str, special: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>) -> Self {
        let pool = pool(hint, |context| {
            context.file("faults.py", WORKER);
            special(context.enhanced().app("faults.py:app")).build()
        })
        .await;
        let victim = bind(&pool, "victim", VICTIM).await;
        let other = bind(&pool, "bystander", OTHER).await;
        for session in ["victim", "bystander"] {
            assert_eq!(count(&pool, session).await.unwrap().0, 1);
        }
        let open = pool.dir().join("open");
        let running = pool.call::<u32>("gate", &json!({ "path": open })).session("bystander").reply();
        let bystander = tokio::spawn(running);
        wait_until("the bystander runs", async || pool.worker(other).await.is_some_and(|worker| worker.in_flight == 1))
            .await;
        pool.processes().look();
        Self { pool, victim, other, bystander }
    }

    /// A path in the pool's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.pool.dir().join(name)
    }

    /// A call without a session. It runs on the victim, since the other worker is busy. In JSON, whatever else this Python speaks:
    /// the table tells what is refused in JSON.
    pub(crate) async fn call(&self, command: &str, arguments: Value) -> Result<Reply> {
        let json = serde_json::to_vec(&arguments).unwrap();
        with_timeout(command, self.pool.call_json::<Value>(command, json.into()).reply()).await
    }

    /// A call whose handler makes the file `running` and goes on beyond its deadline. The deadline is made to pass after the
    /// handler began, however slow the machine is: with each try it lies further away.
    pub(crate) async fn out_of_time(&self, command: &str, arguments: Value, session: Option<&str>) -> Error {
        let mut deadline = Duration::from_millis(500);
        loop {
            let call = self.pool.call::<Value>(command, &arguments).timeout(deadline);
            let call = session.into_iter().fold(call, herder::Call::session);
            let error = with_timeout(command, call.reply()).await.unwrap_err();
            assert_error(
                &error,
                &Expected { category: Category::Timeout, status: 504, says: &["deadline", "may have run"] },
            );
            assert!(matches!(error, Error::DeadlineExceeded { may_have_run: true, .. }));
            if self.path("running").exists() {
                return error;
            }
            deadline *= 2;
        }
    }

    /// A call in the session `victim`.
    pub(crate) async fn call_in_session(&self, command: &str, arguments: Value) -> Result<Reply> {
        with_timeout(command, self.pool.call::<Value>(command, &arguments).session("victim").reply()).await
    }

    /// Begins a call and comes back when its handler runs: it makes the file `running`.
    pub(crate) async fn running(&self, command: &str) -> JoinHandle<Result<Reply>> {
        let path = self.path("running");
        let reply = self.pool.call::<Value>(command, &json!({ "path": path })).reply();
        let call = tokio::spawn(reply);
        wait_until("the handler runs", async || path.exists()).await;
        call
    }

    pub(crate) async fn victim_pid(&self) -> u32 {
        self.pool.pid(self.victim).await
    }

    /// The worker lived through it and its session kept its state; nobody noticed; the pool is whole.
    pub(crate) async fn survived(self, fault: &'static str, error: &Error) {
        let (got, status) = (self.got(error), error.http_status().to_string());
        self.survived_with(fault, got, status).await;
    }

    /// The same for a fault that its caller need not hear of.
    pub(crate) async fn survived_fine(self, fault: &'static str, what: &str) {
        self.survived_with(fault, table::fine(what), "200".into()).await;
    }

    /// The same for a fault after which no caller is left to hear of anything.
    pub(crate) async fn survived_nobody(self, fault: &'static str, what: &str) {
        self.survived_with(fault, what.into(), "none".into()).await;
    }

    async fn survived_with(self, fault: &'static str, got: String, status: String) {
        let (number, worker, routing) = count(&self.pool, "victim").await.unwrap();
        assert_eq!(
            (number, worker, routing),
            (2, self.victim, Routing::Hit),
            "the worker lives on, and so does its session"
        );
        let row = Row { fault, got, status, noticed: NOBODY, recovered: "yes, the same process" };
        self.finished(&row).await;
    }

    /// The worker died of it: its session is told exactly once and begins anew; nobody else noticed; the pool is whole.
    pub(crate) async fn died(self, fault: &'static str, error: &Error, told: LossReport) {
        let (got, status) = (self.got(error), error.http_status().to_string());
        self.died_with(fault, got, status, told).await;
    }

    /// The same for a fault that its caller need not hear of.
    pub(crate) async fn died_fine(self, fault: &'static str, what: &str) {
        self.died_with(fault, table::fine(what), "200".into(), LossReport::NotYet).await;
    }

    async fn died_with(self, fault: &'static str, got: String, status: String, told: LossReport) {
        let noticed = match told {
            LossReport::Already => NOBODY,
            LossReport::NotYet => {
                self.assert_loss_reported_once().await;
                "the session bound to it: told once, with its next call"
            }
        };
        let (number, worker, routing) = count(&self.pool, "victim").await.unwrap();
        assert_eq!(number, 1, "a new state");
        assert_eq!(routing.as_str(), "rebound");
        assert!(worker != self.victim && worker != self.other, "{worker} is a new process");
        let row = Row { fault, got, status, noticed, recovered: "yes, a new process" };
        self.finished(&row).await;
    }

    async fn assert_loss_reported_once(&self) {
        wait_until("the death is noticed", async || self.pool.worker(self.victim).await.is_none()).await;
        let error = count(&self.pool, "victim").await.unwrap_err();
        let Error::SessionWorkerLost { session, worker, generation, may_have_run, .. } = &error else {
            panic!("told of the loss, not {error:?}")
        };
        assert_eq!((session.as_str(), *worker, *generation), ("victim", self.victim.id, self.victim.generation));
        assert!(!may_have_run, "this call was never sent");
        assert_eq!((error.http_status(), error.category()), (410, Category::Session));
    }

    /// The bystander was not touched; the pool is whole, and leaves nothing behind.
    async fn finished(self, row: &Row<'_>) {
        let Self { pool, victim: _, other, bystander } = self;
        fs::write(pool.dir().join("open"), "").unwrap();
        let reply = with_timeout("the bystander", bystander).await.unwrap().unwrap();
        assert_eq!((reply.worker, reply.generation, reply.attempts), (other.id, other.generation, 1));
        let (number, worker, routing) = count(&pool, "bystander").await.unwrap();
        assert_eq!((number, worker, routing), (2, other, Routing::Hit), "the bystander's session is as it was");
        pool.wait_healthy("ok").await;
        pool.end().await;
        row.check();
    }

    fn got(&self, error: &Error) -> String {
        let (dir, pool) = (self.pool.dir().display().to_string(), self.pool.name().to_string());
        table::got(error, &[(&dir, "DIR"), (&pool, "POOL")])
    }
}

async fn bind(pool: &TestPool, session: &str, worker: WorkerId) -> WorkerRef {
    let name = format!("{}_session_affinity", pool.name());
    let affinity = registry::lookup::<SessionAffinityActor>(&name).unwrap();
    affinity.send(BindSession { session: session.into(), worker }).await.unwrap().unwrap()
}

async fn count(pool: &TestPool, session: &str) -> Result<(u64, WorkerRef, Routing)> {
    let reply = with_timeout("count", pool.call::<u64>("count", &json!({})).session(session).reply()).await?;
    Ok((reply.decode()?, WorkerRef { id: reply.worker, generation: reply.generation }, reply.routing))
}

/// The error is of its category, has its status, says what it must; and the form for programs says the same.
pub(crate) fn assert_error(error: &Error, expected: &Expected<'_>) {
    let text = error.to_string();
    assert_eq!((error.category(), error.http_status()), (expected.category, expected.status), "{text}");
    for word in expected.says {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    let problem = error.problem();
    assert_eq!((problem.detail.as_str(), problem.status), (text.as_str(), expected.status));
}

/// A worker's death as its call hears it: `WorkerLost` of this process.
pub(crate) fn assert_lost(error: &Error, victim: WorkerRef, says: &[&str]) {
    assert_error(error, &Expected { category: Category::Connection, status: 502, says });
    assert!(matches!(error, Error::WorkerLost { may_have_run: true, .. }), "{error:?}");
    assert_eq!(error.worker(), Some(victim));
    assert!(error.is_retryable());
}

/// The tail of stderr says this.
pub(crate) fn assert_tail(error: &Error, line: &str) {
    let tail = &error.report().unwrap().stderr_tail;
    assert!(tail.iter().any(|each| each.contains(line)), "{line:?} is missing in {tail:?}");
}
