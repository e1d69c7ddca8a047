//! Operations on waiting calls, by their number. Each step is undone, so that the number stays the same.

use crate::{
    pool::{Pool, session},
    steps::Steps,
};
use herder_core::{CallId, WorkerTypeSettings};
use std::collections::VecDeque;

const WORKERS: u32 = 4;
const STEPS: usize = 64;

pub(crate) fn measure(calls: usize, steps: &mut Steps) {
    for_any_worker(calls, steps);
    without_a_binding(calls, steps);
    of_one_session(calls, steps);
}

/// Calls without a session wait for any worker.
fn for_any_worker(calls: usize, steps: &mut Steps) {
    let mut pool = busy_pool();
    let mut waiting: VecDeque<CallId> = (0..calls).map(|_| pool.submit(None)).collect();
    for _ in 0..STEPS {
        let call = pool.count_submit(None, steps);
        pool.cancel(call);
    }
    steps.end("enqueue", 1);
    for _ in 0..STEPS {
        pool.count_answer(steps);
        assert_eq!(pool.last_sent(), waiting.pop_front());
        waiting.push_back(pool.submit(None));
    }
    steps.end("answer, and send the first that waits", 1);
    for _ in 0..STEPS {
        let call = waiting.remove(calls / 2).expect("a call in the middle");
        pool.count_cancel(call, steps);
        waiting.push_back(pool.submit(None));
    }
    steps.end("cancel in the middle", 1);
}

/// Each call is the first of its own session, and waits for any worker to be bound to.
fn without_a_binding(calls: usize, steps: &mut Steps) {
    let mut pool = busy_pool();
    let mut waiting: VecDeque<CallId> = (0..calls).map(|n| pool.submit(Some(session(n)))).collect();
    for n in 0..STEPS {
        let id = session(n);
        let call = waiting.pop_front().expect("the call of this session");
        pool.count_bind(id.clone(), steps);
        pool.cancel(call);
        pool.end_session(&id);
        waiting.push_back(pool.submit(Some(session(calls + n))));
    }
    steps.end("bind a session while unbound calls wait", 1);
}

/// All calls belong to one session, which runs them one at a time.
fn of_one_session(calls: usize, steps: &mut Steps) {
    let mut pool = Pool::new(WorkerTypeSettings::enhanced(), WORKERS);
    pool.submit(Some(session(0)));
    let mut waiting: VecDeque<CallId> = (0..calls).map(|_| pool.submit(Some(session(0)))).collect();
    assert_eq!(pool.running(), 1, "one call of a session runs at a time");
    for _ in 0..STEPS {
        pool.count_answer(steps);
        assert_eq!(pool.last_sent(), waiting.pop_front());
        waiting.push_back(pool.submit(Some(session(0))));
    }
    steps.end("answer, and send the session's next call", 1);
    for _ in 0..STEPS {
        let call = waiting.remove(calls / 2).expect("a call in the middle");
        pool.count_cancel(call, steps);
        waiting.push_back(pool.submit(Some(session(0))));
    }
    steps.end("cancel in the middle of a session's queue", 1);
}

/// Returns a pool in which each worker runs a call.
fn busy_pool() -> Pool {
    let mut pool = Pool::new(WorkerTypeSettings::enhanced(), WORKERS);
    (0..WORKERS).for_each(|_| _ = pool.submit(None));
    assert_eq!(pool.running(), WORKERS as usize);
    pool
}
