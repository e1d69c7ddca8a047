//! R10: a basic pool allocates nothing for the enhanced features, and a call in a warm pool allocates nothing at all. A
//! test binary of its own, since the counting allocator applies to the whole program.

#[cfg(test)]
mod warm_pool;

#[cfg(test)]
mod tests {
    use super::warm_pool::{WarmPool, enhanced};
    use allocation_counter::{AllocationInfo, measure};
    use herder_core::{
        Settings, Transition, WorkerMetrics,
        WorkerTypeSettings::{self, Basic},
    };
    use std::mem::size_of;

    const WORKERS: u32 = 4;
    const SESSIONS: usize = 1000;

    /// Returns what a pool allocates until its workers are ready and each of its sessions has had a call.
    fn built(kind: WorkerTypeSettings, sessions: usize) -> AllocationInfo {
        let mut pool = None;
        measure(|| pool = Some(WarmPool::new(kind, WORKERS, sessions, 1)))
    }

    fn bytes(kind: WorkerTypeSettings, sessions: usize) -> i64 {
        built(kind, sessions).bytes_current
    }

    /// Each flag adds its own allocations. With all flags off, an enhanced pool allocates exactly as much as a basic
    /// one.
    #[test]
    fn r10_basic_pool_equals_an_enhanced_pool_with_all_flags_off() {
        for sessions in [0, SESSIONS] {
            assert_eq!(built(Basic, sessions), built(enhanced(false, false, false), sessions));
            let basic = bytes(Basic, sessions);
            let of = |affinity, metrics, states| bytes(enhanced(affinity, metrics, states), sessions) - basic;
            let (affinity, metrics, states) = (of(true, false, false), of(false, true, false), of(false, false, true));
            assert_eq!(of(true, true, true), affinity + metrics + states);
            let slots = i64::from(WORKERS + Settings::new(Basic, WORKERS).overflow);
            assert!(affinity >= slots * size_of::<u64>() as i64, "a count for each slot: {affinity}");
            assert!(metrics >= slots * size_of::<WorkerMetrics>() as i64, "metrics for each slot: {metrics}");
            let started = i64::from(WORKERS) * size_of::<Transition>() as i64;
            assert!(states >= started, "the start of each worker in its history: {states}");
        }
    }

    /// The row of a tracked session has no space for a binding.
    #[test]
    fn r10_a_session_of_a_basic_pool_is_smaller() {
        let row = |kind: WorkerTypeSettings| bytes(kind.clone(), SESSIONS) - bytes(kind, 0);
        let (tracked, routed) = (row(Basic), row(enhanced(true, false, false)));
        let binding = size_of::<herder_core::WorkerRef>() + size_of::<herder_core::Epoch>();
        assert!(routed - tracked >= (SESSIONS * binding) as i64, "{tracked} and {routed} for {SESSIONS} sessions");
    }

    #[test]
    fn r10_a_call_through_a_warm_pool_allocates_nothing() {
        for kind in [Basic, enhanced(false, false, false), enhanced(true, true, true)] {
            for sessions in [0, SESSIONS] {
                let mut pool = WarmPool::new(kind.clone(), WORKERS, sessions, SESSIONS / sessions.max(1) + 1);
                let calls = measure(|| (0..10 * SESSIONS).for_each(|_| _ = pool.call()));
                assert_eq!(calls.count_total, 0, "{kind:?}, {sessions} sessions: {calls:?}");
            }
        }
    }
}
