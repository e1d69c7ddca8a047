//! Sessions that call in bursts, and one who kills their workers meanwhile. Writes down what each session was answered, and
//! what was killed; judges nothing.

use super::judge::{Call, End, Entry, ExecutionLog, Kill};
use crate::{
    pools::steps::{Outcome, answers, place},
    rng::Rng,
};
use futures_util::future::join_all;
use herder::testing::{Signal, TestPool, pool, signal, wait_until};
use herder::{Error, GetPoolName, WorkerInfo, WorkerRef, WorkerState};
use serde_json::json;
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::Semaphore;

/// Counts in the session's state, and writes into the ledger of its process when it begins. It is slower than the pool, so that
/// workers are killed in the middle of calls.
const COUNTER: &str = "
import os, time, herder
app = herder.App()
ledger = os.open(f'ledger-{os.getpid()}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@app.command
def count(number: int, session: herder.Session) -> list[int]:
    before = session.state.get('count', 0)
    os.write(ledger, f'{session.id} {number} {before}\\n'.encode())
    time.sleep(0.0002)
    session.state['count'] = before + 1
    return [before + 1, os.getpid()]

@app.command
def pid() -> int:
    return os.getpid()
";

pub(super) const WORKERS: usize = 4;
/// Calls of one session that are submitted together, at most.
const BURST: u64 = 5;

pub(super) struct Harness {
    pub(super) pool: TestPool,
    /// Calls of each session.
    each: u64,
    kills: usize,
    /// How many calls may be submitted so far: no session runs ahead of the kills.
    permits: Semaphore,
    answered: AtomicU64,
    /// Of each session, the last call that the pool has admitted.
    admitted: Vec<AtomicU64>,
    killed: Mutex<Vec<Killed>>,
    noticed: AtomicUsize,
    /// Sessions without a call, until somebody dies.
    resting: AtomicUsize,
}

/// A kill, and what was admitted of each session before it.
struct Killed {
    worker: WorkerRef,
    pid: u32,
    admitted: Vec<u64>,
}

impl Harness {
    pub(super) async fn new(sessions: usize, calls: u64, kills: usize) -> Self {
        let pool = pool("kills", |context| {
            context.file("app.py", COUNTER);
            context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(WORKERS).build()
        })
        .await;
        Self {
            pool,
            each: calls / sessions as u64,
            kills,
            permits: Semaphore::new(0),
            answered: AtomicU64::new(0),
            admitted: (0..sessions).map(|_| AtomicU64::new(0)).collect(),
            killed: Mutex::default(),
            noticed: AtomicUsize::new(0),
            resting: AtomicUsize::new(0),
        }
    }

    /// All calls of each session, and all kills, spread over them.
    pub(super) async fn run(&self, seed: u64) -> Vec<Vec<Call>> {
        let rng = |number: usize| Rng::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
        let sessions = (0..self.admitted.len()).map(|session| self.calls(session, rng(session)));
        let (histories, ()) = tokio::join!(join_all(sessions), self.kills(rng(self.admitted.len())));
        histories
    }

    async fn calls(&self, session: usize, mut rng: Rng) -> Vec<Call> {
        let mut calls = Vec::new();
        while (calls.len() as u64) < self.each {
            let size = u64::from(rng.range(1, BURST as u32)).min(self.each - calls.len() as u64);
            self.permits.acquire_many(size as u32).await.unwrap().forget();
            calls.extend(self.burst(session, calls.len() as u64 + 1, size).await);
            if rng.chance(5) {
                self.rest().await;
            }
        }
        calls
    }

    /// No call until the next death was noticed, so that some sessions are lost without one. Never all of them: they would rest
    /// for ever.
    async fn rest(&self) {
        let before = self.noticed.load(SeqCst);
        if self.resting.fetch_add(1, SeqCst) < self.admitted.len() / 2 {
            wait_until("somebody dies", async || {
                let noticed = self.noticed.load(SeqCst);
                noticed > before || noticed >= self.kills
            })
            .await;
        }
        self.resting.fetch_sub(1, SeqCst);
    }

    /// Calls submitted together. The pool has admitted all of them when it answers what was sent behind them.
    pub(super) async fn burst(&self, session: usize, first: u64, size: u64) -> Vec<Call> {
        let (noticed, numbers) = (self.noticed.load(SeqCst), first..first + size);
        let call = |number| {
            let call = self.pool.call::<(u64, u32)>("count", &json!({ "number": number }));
            call.session(&format!("s{session}")).reply()
        };
        let replies = numbers.clone().map(call).collect();
        self.pool.supervisor().send(GetPoolName).await.unwrap();
        self.admitted[session].store(first + size - 1, SeqCst);
        let ends = answers(replies).await;
        self.answered.fetch_add(size, SeqCst);
        numbers.zip(ends).map(|(number, end)| Call { number, first, noticed, end: end_of(end) }).collect()
    }

    /// Kills one after the other, each when so many calls more were answered. What may be submitted is always a step ahead.
    async fn kills(&self, mut rng: Rng) {
        let calls = self.each * self.admitted.len() as u64;
        let step = (calls / (self.kills as u64 + 2)).max(2 * BURST);
        self.permits.add_permits(2 * step as usize);
        for kill in 1..=self.kills as u64 {
            wait_until("calls go on", async || self.answered.load(SeqCst) >= (kill * step).min(calls)).await;
            let victim = self.victim(&mut rng).await;
            self.kill(&victim, rng.chance(50)).await;
            self.permits.add_permits(step as usize);
        }
        self.permits.add_permits(calls as usize);
    }

    /// A worker that lives, when there is one.
    async fn victim(&self, rng: &mut Rng) -> WorkerInfo {
        let mut living = Vec::new();
        wait_until("a worker lives", async || {
            living = self.pool.base_workers().await;
            living.retain(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Busy));
            !living.is_empty()
        })
        .await;
        living.swap_remove(rng.below(living.len()))
    }

    /// Kills it, by a message or behind the pool's back, and waits until that was noticed.
    pub(super) async fn kill(&self, victim: &WorkerInfo, loss_reported: bool) {
        let (worker_ref, pid) = (victim.process(), victim.pid.unwrap());
        let admitted = self.admitted.iter().map(|last| last.load(SeqCst)).collect();
        self.killed.lock().unwrap().push(Killed { worker: worker_ref, pid, admitted });
        if loss_reported {
            self.pool.kill_worker(worker_ref).await.unwrap();
        } else {
            signal(pid, Signal::KILL).unwrap();
            wait_until("the death is noticed", async || {
                self.pool.worker(worker_ref).await.is_none_or(|worker| worker.state == WorkerState::Terminated)
            })
            .await;
        }
        self.noticed.fetch_add(1, SeqCst);
    }

    /// The kills as one session knows them.
    pub(super) fn kills_for(&self, session: usize) -> Vec<Kill> {
        let killed = self.killed.lock().unwrap();
        killed
            .iter()
            .map(|kill| Kill { worker: kill.worker, pid: kill.pid, admitted: kill.admitted[session] })
            .collect()
    }

    /// What all workers wrote, by session.
    pub(super) fn execution_logs(&self) -> Vec<ExecutionLog> {
        let mut ledgers = vec![ExecutionLog::new(); self.admitted.len()];
        for file in fs::read_dir(self.pool.dir()).unwrap().map(|entry| entry.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            let Some(pid) = name.strip_prefix("ledger-").map(|pid| pid.parse().unwrap()) else { continue };
            for line in fs::read_to_string(file.path()).unwrap().lines() {
                let [session, number, before] = numbers(line);
                let calls = &mut ledgers[usize::try_from(session).unwrap()];
                calls.entry(number).or_default().push(Entry { pid, before });
            }
        }
        ledgers
    }
}

/// Of a ledger's line: session, call, count before it.
fn numbers(line: &str) -> [u64; 3] {
    let words = line.trim_start_matches('s').split(' ');
    words.map(|word| word.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
}

fn end_of(outcome: Outcome) -> End {
    match outcome {
        Ok(reply) => {
            let (count, pid) = reply.decode().unwrap();
            End::Ran { worker: place(&reply), pid, count, routing: reply.routing }
        }
        Err(Error::SessionWorkerLost { worker, generation, may_have_run, .. }) => {
            End::LossReported { worker: WorkerRef { id: worker, generation }, may_have_run }
        }
        Err(other) => End::Other(other.to_string()),
    }
}
