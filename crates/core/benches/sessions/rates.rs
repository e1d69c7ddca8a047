//! Operations per second of the session table and of the baseline map, and the bytes of a session without its id.

use crate::{
    baseline_map::BaselineMap,
    pool::{Pool, id, process},
    spread::Rounds,
};
use herder_core::SessionId;
use std::fs;

/// The number of sessions in a round. Each round has its own order, and its ids are copies, as in a request.
const ROUND: usize = 20_000;

pub(crate) const HEAD: &str = "sessions  operation     ours/s     plain/s   ratio (range)          other figures";

pub(crate) fn measure(sessions: usize) {
    let (mut pool, mut plain) = (Pool::new(sessions), BaselineMap::new());
    let ids: Vec<SessionId> = (0..sessions).map(id).collect();
    let now = pool.now;
    let step = (sessions / 31).clamp(1, ROUND);
    let (mut ours, mut theirs) = (0, 0);
    let binds = Rounds::of(
        step,
        |_| take(&mut ours, step, &ids).for_each(|(n, id)| pool.bind(id, n)),
        |_| take(&mut theirs, step, &ids).for_each(|(n, id)| plain.bind(id.as_str(), process(1 + n % 4, 1), now)),
    );
    report(sessions, "bind", &binds, "ETS: 1.36M/s (100k)");
    take(&mut ours, sessions, &ids).for_each(|(n, id)| pool.bind(id, n));
    take(&mut theirs, sessions, &ids).for_each(|(n, id)| plain.bind(id.as_str(), process(1 + n % 4, 1), now));
    let orders = Orders::new(sessions);
    each(sessions, &orders, &mut pool, &mut plain);
}

fn each(sessions: usize, orders: &Orders, pool: &mut Pool, plain: &mut BaselineMap) {
    let now = pool.now;
    let lookups = Rounds::of(
        ROUND,
        |round| assert!(orders.round(round).iter().all(|id| pool.lookup(id))),
        |round| assert!(orders.strings(round).iter().all(|id| plain.lookup(id, now).is_some())),
    );
    report(sessions, "lookup", &lookups, "ETS read 2.8M/s, through its process 0.55M/s");
    let touches = Rounds::of(
        ROUND,
        |round| assert!(orders.round(round).iter().all(|id| pool.touch(id))),
        |round| assert!(orders.strings(round).iter().all(|id| plain.touch(id, now))),
    );
    report(sessions, "touch", &touches, "");
    let rebinds = Rounds::of(
        ROUND,
        |round| orders.round(round).iter().for_each(|id| pool.bind(id.clone(), round as u32)),
        |round| orders.strings(round).iter().for_each(|id| plain.bind(id, process(1 + round as u32 % 4, 1), now)),
    );
    report(sessions, "rebind", &rebinds, "ETS: 2.04M/s (100k)");
}

fn report(sessions: usize, what: &str, rounds: &Rounds, others: &str) {
    let [least, ratio, most] = rounds.ratio();
    let (ours, plain) = (rounds.ours(), rounds.plain());
    println!("{sessions:>8}  {what:<9} {ours:>10.0}  {plain:>10.0}   {ratio:.2} ({least:.2}-{most:.2})      {others}");
}

/// Returns the next sessions, in the order of their numbers.
fn take<'a>(next: &mut usize, count: usize, ids: &'a [SessionId]) -> impl Iterator<Item = (u32, SessionId)> + use<'a> {
    let begin = *next;
    *next = ids.len().min(begin + count);
    ids[begin..*next].iter().enumerate().map(move |(n, id)| ((begin + n) as u32, id.clone()))
}

/// Ids in a random order for each round. They are stored in that order, so that reading them does not dominate the measurement.
struct Orders(Vec<(Vec<SessionId>, Vec<String>)>);

impl Orders {
    fn new(sessions: usize) -> Self {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            id(random as usize % sessions)
        };
        let mut both = || {
            let ids: Vec<SessionId> = (0..ROUND).map(|_| next()).collect();
            let strings = ids.iter().map(ToString::to_string).collect();
            (ids, strings)
        };
        Self((0..8).map(|_| both()).collect())
    }

    fn round(&self, round: usize) -> &[SessionId] {
        &self.0[round % self.0.len()].0
    }

    /// Returns the same ids as strings, for the baseline map.
    fn strings(&self, round: usize) -> &[String] {
        &self.0[round % self.0.len()].1
    }
}

/// Prints the bytes of a session, in a process that did nothing before. Ids of this length are stored in the rows and subtracted.
pub(crate) fn bytes(sessions: usize) {
    let before = resident();
    let _pool = Pool::full(sessions);
    let each = (resident() - before) as f64 / sessions as f64 - size_of::<SessionId>() as f64;
    println!(
        "{sessions:>8}  {each:.0} bytes a session besides the {} of its id, bound and idle",
        size_of::<SessionId>()
    );
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}
