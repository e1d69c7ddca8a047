//! Calls by the number of workers. All workers are free.

use crate::{
    pool::{Pool, session},
    steps::Steps,
};
use herder_core::WorkerTypeSettings;

const CALLS: usize = 1000;
const SESSIONS: usize = 1000;

pub(crate) fn measure(workers: usize, steps: &mut Steps) {
    let workers = u32::try_from(workers).expect("a number of workers");
    let mut basic = Pool::new(WorkerTypeSettings::Basic, workers);
    (0..CALLS).for_each(|_| call(&mut basic, None));
    for _ in 0..CALLS {
        basic.count_submit(None, steps);
        basic.count_answer(steps);
    }
    steps.end("a call without a session, basic pool", 2);

    let mut enhanced = Pool::new(WorkerTypeSettings::enhanced(), workers);
    (0..2 * SESSIONS).for_each(|n| call(&mut enhanced, Some(n % SESSIONS)));
    for n in 0..CALLS {
        enhanced.count_submit(Some(session(n % SESSIONS)), steps);
        enhanced.count_answer(steps);
    }
    steps.end("a call of a bound session", 2);
    for n in SESSIONS..SESSIONS + CALLS {
        enhanced.count_submit(Some(session(n)), steps);
        enhanced.count_answer(steps);
        enhanced.end_session(&session(n));
    }
    steps.end("the first call of a session", 2);
}

fn call(pool: &mut Pool, n: Option<usize>) {
    pool.submit(n.map(session));
    pool.answer();
}
