//! Advice for the losses of a row. Only reads.

use super::{
    plan::Plan,
    row::Row,
    spread::{digits, percent, time, workers},
};
use herder::efficiency::{EfficiencyReport, concurrency::Loss};

/// The smallest share of the call slots' time for which a loss gets advice. The largest loss always gets it.
const MIN_ADVICE_SHARE: f64 = 0.05;
/// The smallest share of the cores from which the load of other processes is mentioned.
const OTHER_LOAD_REPORTED: f64 = 0.1;
/// The smallest share of the cores from which the load of other processes counts as the cause.
const OTHER_LOAD_BLAMED: f64 = 0.25;

/// Returns one paragraph of advice for a row.
pub(super) fn advice(plan: &Plan, row: &Row) -> String {
    let run = row.middle();
    let mut losses: Vec<Loss> = run.account.losses.iter().filter(|loss| !loss.lost.is_zero()).collect();
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.lost));
    let reported =
        losses.iter().enumerate().filter(|(rank, loss)| *rank == 0 || run.account.share(loss.lost) >= MIN_ADVICE_SHARE);
    let parts: Vec<_> = reported.map(|(_, loss)| part(plan, row, loss)).collect();
    format!("{}, {} efficient. {}", workers(row.workers), percent(run.account.efficiency), parts.join(" "))
}

fn part(plan: &Plan, row: &Row, loss: &Loss) -> String {
    let run = row.middle();
    let share = percent(run.account.share(loss.lost));
    format!("{} {share}: {}. {}", loss.cause, loss.explanation, remedy(plan, row, run, loss.cause))
}

fn remedy(plan: &Plan, row: &Row, run: &EfficiencyReport, cause: &str) -> String {
    match cause {
        "start_up" => "Measure a longer run, or import fewer modules at start.".into(),
        "queueing" if plan.sessions > 0 => {
            "Calls of a session wait for their own worker; more sessions spread the load better.".into()
        }
        "queueing" => {
            "The calls are so short that the pool cannot dispatch them fast enough; do more work in each call.".into()
        }
        "dispatch" => format!(
            "A call runs for {} in its worker, plus the transit in both directions. Do more work in each call. With `pipeline` \
             above 1, or \"auto\" and sync handlers, the next call already waits in the worker.",
            time(run.account.evidence.work / u32::try_from(run.operations.len().max(1)).unwrap_or(u32::MAX))
        ),
        "serialization" => "Send smaller arguments and results; the callers encode and decode them.".into(),
        "stragglers" => {
            "The calls are too few or too unequal in length to end together; measure more calls, or split the longest."
                .into()
        }
        "idle" => format!("{} callers cannot keep {} call slots busy; use more callers.", run.callers, row.call_slots),
        "cores" => cores(row, run),
        "gil" => {
            "A Python interpreter computes only one call at a time; use more workers and a lower `concurrency`.".into()
        }
        "slowed" if row.call_slots == 1 => {
            "With one call slot, the cause is the machine: other processes, or changes of the CPU frequency.".into()
        }
        "slowed" => "The calls share a resource: memory bandwidth, a disk, a lock, or a remote service.".into(),
        _ => String::new(),
    }
}

/// Returns the advice for a lack of cores: the cores that the workers need, if that is known, and the available ones.
fn cores(row: &Row, run: &EfficiencyReport) -> String {
    let (available, other_load) = (run.machine.cores, run.machine.other_load.unwrap_or(0.0));
    let needed = run.cpu_share.map(|cpu_share| cpu_share * row.call_slots as f64);
    let s = if row.workers == 1 { "s" } else { "" };
    let needs = needed
        .map(|needed| format!("{} need{s} {} cores; the", workers(row.workers), digits(needed)))
        .unwrap_or("The".into());
    let busy = if other_load >= OTHER_LOAD_REPORTED * available {
        format!(", of which other processes use {}", digits(other_load))
    } else {
        String::new()
    };
    format!("{needs} machine has {}{busy}: {}.", digits(available), shortage(needed, other_load, available))
}

/// Returns the main cause of a lack of cores.
fn shortage(needed: Option<f64>, other_load: f64, available: f64) -> &'static str {
    match needed {
        Some(needed) if needed > available => "more workers than cores do not help calls that compute",
        _ if other_load > OTHER_LOAD_BLAMED * available => "measure on an idle machine",
        Some(_) => "this is enough for the workers, but callers and the pool also need CPU time",
        None => "more workers than cores do not help if Python computes",
    }
}
