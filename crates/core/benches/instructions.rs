//! Counts the instructions of one call in the core, from its submission to its delivery, for each type of pool:
//! `cargo bench -p herder-core-benches --bench instructions`.
//!
//! The program starts itself under callgrind once for each case, so it needs valgrind. The speed of the machine does not matter.
//! Only the instructions inside `counted` are counted. Exits with 1 if the call of a basic pool next to an enhanced pool
//! differs by more than 0.5 % from the call of a basic pool alone (R55), if a count is implausible, or if one is over its budget
//! (`instructions.budget`).
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark may panic, read the environment, start itself, and print"
)]

mod budget;
#[path = "../tests/warm_pool/mod.rs"]
mod warm_pool;

use herder_core::{
    Routing::{self, Hit, Unrouted},
    Submission,
    WorkerTypeSettings::{self, Basic},
};
use std::{
    collections::HashMap,
    env,
    hint::black_box,
    process::{Command, ExitCode},
};
use warm_pool::{WarmPool, enhanced};

const CALLS: usize = 10_000;
const WARM_UP: usize = 1000;
const SESSIONS: usize = 1000;
/// The allowed relative difference. Counts differ between builds, because of the code layout, but not between runs.
const TOLERANCE: f64 = 0.005;
/// The environment variable that names the case, in the process that runs under callgrind.
const CASE: &str = "HERDER_INSTRUCTIONS_CASE";

/// The numbers of workers of the cases `basic_N` and `session_N`.
const POOL_SIZES: [u32; 5] = [1, 4, 64, 256, 1024];
/// The number of workers of all other cases.
const WORKERS: u32 = 4;

/// One case: its name, the case with which it is compared, its pool, and the expected routing of its calls.
struct Case {
    name: String,
    relative_to: &'static str,
    setup: Box<dyn Fn() -> MeasuredPool>,
    routing: Routing,
}

fn case(name: &str, relative_to: &'static str, setup: fn() -> MeasuredPool, routing: Routing) -> Case {
    Case { name: name.into(), relative_to, setup: Box::new(setup), routing }
}

/// Returns the cases of a call without a session, and of a session's call, in a pool of this many workers.
fn of_pool_size(workers: u32) -> [Case; 2] {
    [
        Case {
            name: format!("basic_{workers}"),
            relative_to: "basic_1",
            setup: Box::new(move || WarmPool::new(Basic, workers, 0, WARM_UP).into()),
            routing: Unrouted,
        },
        Case {
            name: format!("session_{workers}"),
            relative_to: "session_1",
            setup: Box::new(move || WarmPool::new(enhanced(true, true, true), workers, SESSIONS, 2).into()),
            routing: Hit,
        },
    ]
}

fn cases() -> Vec<Case> {
    let features = [
        case("basic_alone", "basic_alone", || alone(Basic), Unrouted),
        case("basic_beside_enhanced", "basic_alone", || beside_enhanced(Basic), Unrouted),
        case("basic_session", "basic_alone", || with_sessions(Basic), Unrouted),
        case("enhanced_none", "basic_alone", || alone(enhanced(false, false, false)), Unrouted),
        case("enhanced_none_session", "enhanced_none", || with_sessions(enhanced(false, false, false)), Unrouted),
        case("only_session_affinity", "basic_alone", || alone(enhanced(true, false, false)), Unrouted),
        case(
            "only_session_affinity_session",
            "only_session_affinity",
            || with_sessions(enhanced(true, false, false)),
            Hit,
        ),
        case("only_worker_metrics", "basic_alone", || alone(enhanced(false, true, false)), Unrouted),
        case("only_state_machine", "basic_alone", || alone(enhanced(false, false, true)), Unrouted),
        case("enhanced_all", "basic_alone", || alone(enhanced(true, true, true)), Unrouted),
        case("enhanced_all_session", "enhanced_all", || with_sessions(enhanced(true, true, true)), Hit),
    ];
    features.into_iter().chain(POOL_SIZES.into_iter().flat_map(of_pool_size)).collect()
}

fn main() -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        run(cases().iter().find(|case| case.name == name).expect("a case of this name"));
        return ExitCode::SUCCESS;
    }
    let cases = cases();
    let found: HashMap<&str, f64> = cases.iter().map(|case| (&*case.name, count(&case.name))).collect();
    for Case { name, relative_to, .. } in &cases {
        let (count, ratio) = (found[&**name], found[&**name] / found[relative_to]);
        println!("{name:<30} {count:>8.1} instructions a call, {ratio:.3} of {relative_to}");
    }
    let mut faults = faults(&found);
    if cfg!(debug_assertions) {
        println!("budgets are of the release profile, so none is checked");
    } else {
        let checked = budget::check(budget::FILE, &found);
        checked.hints.iter().for_each(|hint| println!("{hint}"));
        faults.extend(checked.faults);
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns a line for each count that is not as expected.
fn faults(found: &HashMap<&str, f64>) -> Vec<String> {
    let (alone, beside, session) = (found["basic_alone"], found["basic_beside_enhanced"], found["basic_session"]);
    let mut faults = Vec::new();
    if (beside - alone).abs() > TOLERANCE * alone {
        faults.push(format!(
            "R55: a basic call costs {alone:.1} instructions alone, {beside:.1} beside an enhanced pool"
        ));
    }
    // Fewer than 100 instructions, or a session that costs less than 5 %, means that the wrong code was measured.
    if alone < 100.0 || session < 1.05 * alone {
        faults.push(format!("implausible: {alone:.1} instructions without a session, {session:.1} with one"));
    }
    faults
}

/// Returns the instructions per call of one case, as callgrind reports them.
fn count(name: &str) -> f64 {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*instructions::counted*"])
        .arg(env::current_exe().expect("this program"))
        .env(CASE, name)
        .output()
        .expect("valgrind is installed");
    let report = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind's count");
    collected.1.trim().parse::<f64>().expect("a number") / CALLS as f64
}

/// The measured pool, and optionally a second one in the same process that runs as many calls.
struct MeasuredPool {
    pool: WarmPool,
    neighbour: Option<WarmPool>,
}

impl From<WarmPool> for MeasuredPool {
    fn from(pool: WarmPool) -> Self {
        Self { pool, neighbour: None }
    }
}

/// Returns a pool whose calls have no session.
fn alone(kind: WorkerTypeSettings) -> MeasuredPool {
    WarmPool::new(kind, WORKERS, 0, WARM_UP).into()
}

/// Returns a pool whose calls have no session, with a second pool that has all features and ten thousand sessions.
fn beside_enhanced(kind: WorkerTypeSettings) -> MeasuredPool {
    MeasuredPool { neighbour: Some(WarmPool::new(enhanced(true, true, true), WORKERS, 10_000, 1)), ..alone(kind) }
}

/// Returns a pool whose calls belong to its sessions, in rotation.
fn with_sessions(kind: WorkerTypeSettings) -> MeasuredPool {
    WarmPool::new(kind, WORKERS, SESSIONS, 2).into()
}

fn run(case: &Case) {
    let mut setup = (case.setup)();
    for _ in 0..CALLS {
        if let Some(neighbour) = &mut setup.neighbour {
            assert_eq!(neighbour.call(), Hit);
        }
        let next = setup.pool.next();
        assert_eq!(counted(&mut setup.pool, &next), case.routing);
    }
}

#[inline(never)]
fn counted(pool: &mut WarmPool, next: &Submission) -> Routing {
    black_box(pool.serve(next))
}
