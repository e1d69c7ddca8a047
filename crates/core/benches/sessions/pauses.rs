//! The longest step of each kind that concerns many sessions, at a million of them: no call is answered meanwhile.
//!
//! In CPU time of the thread: what the machine gives to others is not ours to answer for.

use crate::pool::{Pool, id, process};
use herder_core::{ExitStatus, Input, KillReason, ProcessExit, WorkerId};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::HashMap, time::Duration};

/// Longest and total time of the steps of one kind.
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
    steps.report("an insert while growing to that");
    pool
}

fn plain_growth(sessions: usize) {
    let (mut map, mut steps) = (HashMap::new(), Steps::default());
    for n in 0..sessions {
        let id = id(n);
        steps.time(|| map.insert(id, [0_u64; 5]));
    }
    steps.report("  (the same of a plain HashMap)");
}

/// What asks for numbers, or for a page.
fn listing(pool: &mut Pool) {
    let (mut status, mut page) = (Steps::default(), Steps::default());
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = page.time(|| pool.core.list_sessions(pool.now, at, 1000)).next;
    }
    for part in 0..1000 {
        let now = pool.now + Duration::from_secs(299) + Duration::from_millis(part); // more and more are due
        status.time(|| pool.core.status(now));
    }
    page.report("a page of 1000");
    status.report("a status, all of them coming due");
}

fn release(pool: &mut Pool) {
    let (mut first, mut walk) = (Steps::default(), Steps::default());
    let removed = first.time(|| pool.core.remove_worker_sessions(pool.now, WorkerId(1), &mut pool.effects));
    first.report(&format!("RemoveWorkerSessions of {removed}"));
    while pool.next_timer(Duration::from_secs(1)) {
        pool.effects.clear();
        walk.time(|| pool.tick());
    }
    walk.report("  its steps after that (ETS: 41 ms at 100k)");
}

fn death(pool: &mut Pool) {
    let mut steps = Steps::default();
    let end = ProcessExit { status: ExitStatus::Signal(9), kill_reason: Some(KillReason::Requested) };
    pool.effects.clear();
    steps.time(|| {
        pool.core.handle(
            pool.now,
            Input::Exited { worker: process(1, 1), end, suspects: Vec::new() },
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
