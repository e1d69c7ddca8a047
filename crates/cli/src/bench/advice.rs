//! What to do about what was lost, in plain words. Only reads.

use super::{
    plan::Plan,
    row::Row,
    spread::{digits, percent, time},
    told::workers,
};
use herder::{concurrency::Loss, efficiency::Report};

/// Less of the lanes' time than this is not worth a word, unless it is the most.
const WORTH_A_WORD: f64 = 0.05;
/// Of all cores; if others use more, it is told.
const NOT_OURS: f64 = 0.1;
/// Of all cores; if others use more, they are to blame first.
const NOT_ALL_OURS: f64 = 0.25;

/// One paragraph for a row.
pub(super) fn advice(plan: &Plan, row: &Row) -> String {
    let run = row.middle();
    let mut losses: Vec<Loss> = run.account.losses.iter().filter(|loss| !loss.lost.is_zero()).collect();
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.lost));
    let told = losses.iter().enumerate().filter(|(at, loss)| *at == 0 || run.account.share(loss.lost) >= WORTH_A_WORD);
    let parts: Vec<_> = told.map(|(_, loss)| part(plan, row, loss)).collect();
    format!("{}, {} efficient. {}", workers(row.workers), percent(run.account.efficiency), parts.join(" "))
}

fn part(plan: &Plan, row: &Row, loss: &Loss) -> String {
    let run = row.middle();
    let share = percent(run.account.share(loss.lost));
    format!("{} {share}: {}. {}", loss.cause, loss.because, remedy(plan, row, run, loss.cause))
}

fn remedy(plan: &Plan, row: &Row, run: &Report, cause: &str) -> String {
    match cause {
        "start_up" => "Measure a longer run, or import less when a worker starts.".into(),
        "queueing" if plan.sessions > 0 => {
            "Sessions tie calls to workers that are busy: more sessions spread better.".into()
        }
        "queueing" => "The pool hands calls out too slowly for calls this short.".into(),
        "dispatch" => format!(
            "A call takes {} in its worker and goes back and forth besides: do more in one call, or raise `pipeline`, so that the \
             next call waits in the worker.",
            time(run.account.evidence.work / u32::try_from(run.operations.len().max(1)).unwrap_or(u32::MAX))
        ),
        "serialization" => "Send less: arguments and results are encoded and decoded by the callers.".into(),
        "stragglers" => {
            "The calls are too few or too unequal to end together: measure more of them, or split the longest.".into()
        }
        "idle" => format!("{} callers can't keep {} lanes busy: more callers.", run.callers, row.lanes),
        "cores" => cores(row, run),
        "gil" => "One interpreter computes one call at a time: more workers, and a lower `concurrency`.".into(),
        "slowed" if row.lanes == 1 => {
            "With one lane that is the machine: others on it, or cores that change their speed.".into()
        }
        "slowed" => "They share something: memory bandwidth, a disk, a lock, a service behind them.".into(),
        _ => String::new(),
    }
}

/// What the workers would use, where that is known, against what there is.
fn cores(row: &Row, run: &Report) -> String {
    let (there, others) = (run.machine.cores, run.machine.others.unwrap_or(0.0));
    let wanted = run.computes.map(|computes| computes * row.lanes as f64);
    let s = if row.workers == 1 { "s" } else { "" };
    let wants = wanted
        .map(|wanted| format!("{} want{s} {} cores, the", workers(row.workers), digits(wanted)))
        .unwrap_or("The".into());
    let busy = if others >= NOT_OURS * there {
        format!(", of which others keep {} busy", digits(others))
    } else {
        String::new()
    };
    format!("{wants} machine has {}{busy}: {}.", digits(there), shortage(wanted, others, there))
}

/// Who is to blame first.
fn shortage(wanted: Option<f64>, others: f64, there: f64) -> &'static str {
    match wanted {
        Some(wanted) if wanted > there => "more workers than cores gain nothing for calls that compute",
        _ if others > NOT_ALL_OURS * there => "measure on a machine that has less to do",
        Some(_) => "that is enough, but callers and the pool need some of it, too",
        None => "more workers than cores gain nothing where Python computes",
    }
}
