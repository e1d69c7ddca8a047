//! The harness of the kill test: sessions submit bursts of calls while workers are killed. It records the answers of each
//! session and the kills. The judge checks them afterwards.

use super::judge::{Call, CallOutcome, Entry, ExecutionLog, Kill};
use crate::{
    pools::steps::{Outcome, answers, place, unfinished},
    rng::Rng,
};
use futures_util::future::join_all;
use herder::{
    Error,
    config::Pipeline,
    messages::GetPoolName,
    status::{WorkerInfo, WorkerRef, WorkerState},
    testing::{Signal, TestPool, pool, signal, wait_until},
};
use serde_json::json;
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::Semaphore;

/// Counts in the session's state, and writes a line into the execution log of its process when it begins. It is slower than the
/// pool, so that workers are killed during calls.
const COUNTER: &str = "
import os, time, herder
app = herder.App()
log = os.open(f'execution-log-{os.getpid()}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@app.command
def count(number: int, session: herder.Session) -> list[int]:
    before = session.state.get('count', 0)
    os.write(log, f'{session.id} {number} {before}\\n'.encode())
    time.sleep(0.0002)
    session.state['count'] = before + 1
    return [before + 1, os.getpid()]

@app.command
def pid() -> int:
    return os.getpid()
";

pub(super) const WORKERS: usize = 4;
/// The maximum number of calls of one session that are submitted together.
const BURST: u64 = 5;

/// Drives the pool: runs the calls of all sessions and the kills, and records both for the judge.
pub(super) struct Harness {
    pub(super) pool: TestPool,
    /// The number of calls of each session.
    calls_per_session: u64,
    kills: usize,
    /// The number of calls that may be submitted so far. It keeps the sessions from finishing before the kills.
    permits: Semaphore,
    answered: AtomicU64,
    /// For each session, the number of the last call that the pool has admitted.
    admitted: Vec<AtomicU64>,
    killed: Mutex<Vec<Killed>>,
    /// The number of deaths that the pool has noticed.
    noticed: AtomicUsize,
    /// The number of kills of workers that had been sent calls in advance.
    had_calls_in_advance: AtomicUsize,
    /// The number of sessions that submit no call until the next death.
    paused: AtomicUsize,
}

/// A kill, and the last call of each session that was admitted before it.
struct Killed {
    worker: WorkerRef,
    pid: u32,
    admitted: Vec<u64>,
}

impl Harness {
    pub(super) async fn new(sessions: usize, calls: u64, kills: usize, pipeline: Pipeline) -> Self {
        let pool = pool("kills", |context| {
            context.file("app.py", COUNTER);
            let workers = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(WORKERS);
            workers.concurrency(1).pipeline(pipeline).build()
        })
        .await;
        Self {
            pool,
            calls_per_session: calls / sessions as u64,
            kills,
            permits: Semaphore::new(0),
            answered: AtomicU64::new(0),
            admitted: (0..sessions).map(|_| AtomicU64::new(0)).collect(),
            killed: Mutex::default(),
            noticed: AtomicUsize::new(0),
            had_calls_in_advance: AtomicUsize::new(0),
            paused: AtomicUsize::new(0),
        }
    }

    /// Runs the calls of all sessions, with the kills spread over them. Returns the history of each session.
    pub(super) async fn run(&self, seed: u64) -> Vec<Vec<Call>> {
        let rng = |number: usize| Rng::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
        let sessions = (0..self.admitted.len()).map(|session| self.run_session(session, rng(session)));
        let (histories, ()) = tokio::join!(join_all(sessions), self.run_kills(rng(self.admitted.len())));
        histories
    }

    async fn run_session(&self, session: usize, mut rng: Rng) -> Vec<Call> {
        let mut calls = Vec::new();
        while (calls.len() as u64) < self.calls_per_session {
            let size = u64::from(rng.range(1, BURST as u32)).min(self.calls_per_session - calls.len() as u64);
            self.permits.acquire_many(size as u32).await.unwrap().forget();
            calls.extend(self.burst(session, calls.len() as u64 + 1, size).await);
            if rng.chance(5) {
                self.pause().await;
            }
        }
        calls
    }

    /// Waits until the pool has noticed the next death, so that some sessions lose their state while they have no call. At most
    /// half of the sessions pause: kills follow answered calls, so a pause of all sessions would never end.
    async fn pause(&self) {
        let before = self.noticed.load(SeqCst);
        if self.paused.fetch_add(1, SeqCst) < self.admitted.len() / 2 {
            wait_until("the next death", async || {
                let noticed = self.noticed.load(SeqCst);
                noticed > before || noticed >= self.kills
            })
            .await;
        }
        self.paused.fetch_sub(1, SeqCst);
    }

    /// Submits calls together and waits for their answers. The supervisor handles messages in order, so it has admitted all of
    /// them when it answers `GetPoolName`.
    pub(super) async fn burst(&self, session: usize, first: u64, size: u64) -> Vec<Call> {
        // `noticed` is read before the calls are submitted: if it includes a death, no call of this burst was
        // pending at that death.
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

    /// Kills workers, one each time `step` more calls were answered. Permits are always one step ahead of the answers.
    async fn run_kills(&self, mut rng: Rng) {
        let calls = self.calls_per_session * self.admitted.len() as u64;
        let step = (calls / (self.kills as u64 + 2)).max(2 * BURST);
        self.permits.add_permits(2 * step as usize);
        for kill in 1..=self.kills as u64 {
            wait_until("more calls are answered", async || self.answered.load(SeqCst) >= (kill * step).min(calls))
                .await;
            let victim = self.choose_victim(&mut rng).await;
            self.kill(&victim, rng.chance(50)).await;
            self.permits.add_permits(step as usize);
        }
        self.permits.add_permits(calls as usize);
    }

    /// Waits for a running worker and chooses one at random.
    async fn choose_victim(&self, rng: &mut Rng) -> WorkerInfo {
        let mut running = Vec::new();
        wait_until("a worker runs", async || {
            running = self.pool.base_workers().await;
            running.retain(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Busy));
            !running.is_empty()
        })
        .await;
        running.swap_remove(rng.below(running.len()))
    }

    /// Kills a worker through the pool, or with a signal that the pool does not know of, and waits until the pool has noticed
    /// the death.
    pub(super) async fn kill(&self, victim: &WorkerInfo, through_pool: bool) {
        // The admitted calls are read before the kill. Calls that are admitted in between may be pending at the death, or may
        // not: the judge requires a loss report only for calls that were certainly admitted before.
        let (worker_ref, pid) = (victim.process(), victim.pid.unwrap());
        let admitted = self.admitted.iter().map(|last| last.load(SeqCst)).collect();
        self.killed.lock().unwrap().push(Killed { worker: worker_ref, pid, admitted });
        if through_pool {
            self.pool.kill_worker(worker_ref).await.unwrap();
        } else {
            signal(pid, Signal::KILL).unwrap();
            wait_until("the death is noticed", async || {
                self.pool.worker(worker_ref).await.is_none_or(|worker| worker.state == WorkerState::Terminated)
            })
            .await;
        }
        self.noticed.fetch_add(1, SeqCst);
        let recording = self.pool.recorder(worker_ref.id, Some(worker_ref.generation)).await.unwrap();
        self.had_calls_in_advance.fetch_add(usize::from(unfinished(&recording) > 1), SeqCst);
    }

    /// Returns the number of kills of workers that had been sent calls in advance.
    pub(super) fn kills_with_calls_in_advance(&self) -> usize {
        self.had_calls_in_advance.load(SeqCst)
    }

    /// Returns the kills with the last admitted call of this session.
    pub(super) fn kills_for(&self, session: usize) -> Vec<Kill> {
        let killed = self.killed.lock().unwrap();
        killed
            .iter()
            .map(|kill| Kill { worker: kill.worker, pid: kill.pid, admitted: kill.admitted[session] })
            .collect()
    }

    /// Reads the execution logs of all workers and returns one for each session.
    pub(super) fn execution_logs(&self) -> Vec<ExecutionLog> {
        let mut logs = vec![ExecutionLog::new(); self.admitted.len()];
        for file in fs::read_dir(self.pool.dir()).unwrap().map(|entry| entry.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            let Some(pid) = name.strip_prefix("execution-log-").map(|pid| pid.parse().unwrap()) else { continue };
            for line in fs::read_to_string(file.path()).unwrap().lines() {
                let [session, number, before] = parse_line(line);
                let calls = &mut logs[usize::try_from(session).unwrap()];
                calls.entry(number).or_default().push(Entry { pid, before });
            }
        }
        logs
    }
}

/// Parses a line of an execution log: session, call, count before the call.
fn parse_line(line: &str) -> [u64; 3] {
    let fields = line.trim_start_matches('s').split(' ');
    fields.map(|field| field.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
}

fn end_of(outcome: Outcome) -> CallOutcome {
    match outcome {
        Ok(reply) => {
            let (count, pid) = reply.decode().unwrap();
            CallOutcome::Ran { worker: place(&reply), pid, count, routing: reply.routing }
        }
        Err(Error::SessionWorkerLost { worker, generation, may_have_run, .. }) => {
            CallOutcome::LossReported { worker: WorkerRef { id: worker, generation }, may_have_run }
        }
        Err(other) => CallOutcome::Other(other.to_string()),
    }
}
