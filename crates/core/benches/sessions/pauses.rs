//! The longest step of each operation on many sessions, at a million sessions. No call is answered during a step.
//!
//! Measured in CPU time of the thread, so that other processes of the machine do not matter.

use crate::pool::{Pool, id, process};
use herder_core::{Answers, ExitStatus, Input, KillReason, ProcessExit, WorkerId};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::HashMap, time::Duration};

/// The times of all steps of one operation.
#[derive(Default)]
struct Steps {
    times: Vec<f64>,
}

impl Steps {
    fn time<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let begin = cpu_us();
        let value = step();
        self.times.push(cpu_us() - begin);
        value
    }

    fn report(mut self, what: &str) {
        self.times.sort_by(f64::total_cmp);
        let at = |share: f64| self.times[((self.times.len() - 1) as f64 * share) as usize];
        let (count, sum) = (self.times.len(), self.times.iter().sum::<f64>() / 1000.0);
        println!(
            "{what:<44} {count:>8} steps, {sum:>8.1} ms in all; p50 {:>6.1}, p99.99 {:>7.1}, longest {:>9.1} us",
            at(0.5),
            at(0.9999),
            at(1.0)
        );
    }
}

fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

pub(crate) fn measure(sessions: usize) {
    println!("steps at {sessions} sessions (a pause is one step; CPU time)");
    let mut pool = growth(sessions);
    plain_growth(sessions);
    listing(&mut pool);
    release(&mut pool);
    let mut pool = Pool::full(sessions);
    death(&mut pool);
    sweep(&mut pool);
}

fn growth(sessions: usize) -> Pool {
    let (mut pool, mut steps) = (Pool::new(sessions), Steps::default());
    for n in 0..sessions {
        let id = id(n);
        steps.time(|| pool.bind(id, n as u32));
    }
    steps.report("an insert while growing to this number");
    pool
}

fn plain_growth(sessions: usize) {
    let (mut map, mut steps) = (HashMap::new(), Steps::default());
    for n in 0..sessions {
        let id = id(n);
        steps.time(|| map.insert(id, [0_u64; 5]));
    }
    steps.report("  (the same in a plain HashMap)");
}

/// The requests that count or list sessions.
fn listing(pool: &mut Pool) {
    let (mut status, mut page) = (Steps::default(), Steps::default());
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = page.time(|| pool.core.list_sessions(pool.now, at, 1000)).next;
    }
    // With each status, more sessions are due.
    for part in 0..1000 {
        let now = pool.now + Duration::from_secs(299) + Duration::from_millis(part);
        status.time(|| pool.core.status(now));
    }
    page.report("a page of 1000");
    status.report("a status, while all sessions become due");
}

fn release(pool: &mut Pool) {
    let (mut first, mut scan) = (Steps::default(), Steps::default());
    let removed = first.time(|| pool.core.remove_worker_sessions(pool.now, WorkerId(1), &mut pool.effects));
    first.report(&format!("RemoveWorkerSessions of {removed}"));
    while pool.next_timer(Duration::from_secs(1)) {
        pool.effects.clear();
        scan.time(|| pool.tick());
    }
    scan.report("  the steps of its scan (ETS: 41 ms at 100k)");
}

fn death(pool: &mut Pool) {
    let mut steps = Steps::default();
    let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: Some(KillReason::Requested) };
    pool.effects.clear();
    steps.time(|| {
        pool.core.handle(
            pool.now,
            Input::Exited {
                worker: process(1, 1),
                exit,
                answers: Answers::ReadToEnd,
                unwritten: None,
                suspects: Vec::new(),
            },
            &mut pool.effects,
        );
    });
    steps.report("the death of a worker with 250,000 sessions");
    if let Some(next) = pool.started() {
        pool.ready(next);
    }
}

fn sweep(pool: &mut Pool) {
    let mut steps = Steps::default();
    pool.now = pool.now + Duration::from_secs(301);
    let mut more = true;
    while more {
        pool.effects.clear();
        more = steps.time(|| pool.core.sweep(pool.now, 256, &mut pool.effects)).1;
    }
    steps.report("a step of the sweep (256 rows)");
}
