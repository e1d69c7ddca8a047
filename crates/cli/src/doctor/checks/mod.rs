//! The checks: pure functions of the facts. A check of something unknown has no result.

mod limits;
mod machine;
mod python;
mod server;

use super::{check::Check, facts::Facts};

/// Makes all checks, in the order in which a start would meet the problems.
pub(super) fn all(facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    checks.extend(server::configuration(facts));
    checks.extend(server::access(facts));
    checks.extend(server::exposed_files(facts));
    checks.extend(server::log(facts));
    for pool in &facts.pools {
        checks.extend(python::interpreter(pool));
        checks.extend(python::package(pool));
        checks.extend(python::worker(pool));
        checks.extend(python::import(pool));
    }
    checks.extend(limits::descriptors(facts));
    checks.extend(limits::memory(facts));
    checks.extend(limits::cpu(facts));
    checks.extend(limits::processes(facts));
    checks.extend(machine::overcommit(&facts.machine));
    checks.extend(machine::system_calls(&facts.machine));
    checks.extend(machine::init(&facts.machine.init));
    checks.extend(machine::shared_memory(&facts.machine));
    checks.extend(machine::folders(&facts.machine));
    checks.extend(machine::clock(&facts.machine));
    checks.extend(facts.server.iter().flat_map(server::server));
    checks.extend(facts.collector.as_ref().map(server::collector));
    checks
}
