//! Operations on sessions, by their number.

use crate::{
    pool::{Pool, session},
    steps::Steps,
};
use herder_core::WorkerTypeSettings;

const WORKERS: u32 = 4;
const STEPS: usize = 1000;
/// Coprime to all numbers of sessions, so that consecutive steps use rows that are far apart.
const STRIDE: usize = 7919;

pub(crate) fn measure(sessions: usize, steps: &mut Steps) {
    let mut pool = Pool::new(WorkerTypeSettings::enhanced(), WORKERS);
    (0..sessions).for_each(|n| call(&mut pool, n));
    for step in 0..STEPS {
        pool.count_submit(Some(session(step * STRIDE % sessions)), steps);
        pool.count_answer(steps);
    }
    steps.end("a call of a bound session", 2);
    for n in sessions..sessions + STEPS {
        pool.count_submit(Some(session(n)), steps);
        pool.count_answer(steps);
        pool.end_session(&session(n));
    }
    steps.end("the first call of a session", 2);
    for step in 0..STEPS {
        let n = step * STRIDE % sessions;
        pool.count_end_session(&session(n), steps);
        call(&mut pool, n);
    }
    steps.end("end a session", 1);
}

fn call(pool: &mut Pool, n: usize) {
    pool.submit(Some(session(n)));
    pool.answer();
}
