//! Instructions of one call through the core, from its submission to its delivery, for each kind of pool: `.ci/run instructions`.
//!
//! Callgrind counts them, so the machine's pace does not matter. Only what happens inside `counted` is counted.
#![expect(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a benchmark: it may end with a panic; its macros make items that nobody documents, read arguments and print"
)]

#[path = "../tests/warm/mod.rs"]
mod warm;

use gungraun::{Callgrind, EntryPoint, prelude::*};
use herder_core::{KindSettings, Routing, Submission};
use warm::{Warm, enhanced};

/// What `.ci/instructions` divides by.
const CALLS: usize = 10_000;
const WARM_UP: usize = 1000;
const SESSIONS: usize = 1000;

/// The pool that is measured, and one that has as much to do beside it, in the same process.
struct Scene {
    pool: Warm,
    neighbour: Option<Warm>,
}

/// A pool whose calls have no session.
fn alone(kind: KindSettings) -> Scene {
    Scene { pool: Warm::new(kind, 0, WARM_UP), neighbour: None }
}

/// The same beside a pool with all features and ten thousand sessions.
fn beside_enhanced(kind: KindSettings) -> Scene {
    Scene { neighbour: Some(Warm::new(enhanced(true, true, true), 10_000, 1)), ..alone(kind) }
}

/// A pool whose calls are all of a session, each in turn.
fn with_sessions(kind: KindSettings) -> Scene {
    Scene { pool: Warm::new(kind, SESSIONS, 2), neighbour: None }
}

#[inline(never)]
fn counted(pool: &mut Warm, next: Submission) -> Routing {
    pool.serve(next)
}

#[library_benchmark]
#[bench::basic_alone(alone(KindSettings::Basic), Routing::Unrouted)]
#[bench::basic_beside_enhanced(beside_enhanced(KindSettings::Basic), Routing::Unrouted)]
#[bench::basic_session(with_sessions(KindSettings::Basic), Routing::Unrouted)]
#[bench::enhanced_none(alone(enhanced(false, false, false)), Routing::Unrouted)]
#[bench::enhanced_none_session(with_sessions(enhanced(false, false, false)), Routing::Unrouted)]
#[bench::only_session_affinity(alone(enhanced(true, false, false)), Routing::Unrouted)]
#[bench::only_session_affinity_session(with_sessions(enhanced(true, false, false)), Routing::Hit)]
#[bench::only_worker_metrics(alone(enhanced(false, true, false)), Routing::Unrouted)]
#[bench::only_state_machine(alone(enhanced(false, false, true)), Routing::Unrouted)]
#[bench::enhanced_all(alone(enhanced(true, true, true)), Routing::Unrouted)]
#[bench::enhanced_all_session(with_sessions(enhanced(true, true, true)), Routing::Hit)]
fn life(mut scene: Scene, expected: Routing) -> Scene {
    for _ in 0..CALLS {
        if let Some(neighbour) = &mut scene.neighbour {
            assert_eq!(neighbour.call(), Routing::Hit);
        }
        let next = scene.pool.next();
        assert_eq!(counted(&mut scene.pool, next), expected);
    }
    scene
}

library_benchmark_group!(name = calls, benchmarks = life);
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).entry_point(EntryPoint::Custom("instructions::counted".into()))),
    library_benchmark_groups = calls
);
