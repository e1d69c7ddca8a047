//! Pairs: the same calls one after the other and side by side, turn by turn, so that whatever the machine does it does to both.

use super::{
    MeasureError,
    callers::{CallBatch, Workload},
    watch::UsageWatch,
};
use crate::concurrency::{Comparison, ComparisonConditions, CpuTime, Interval, Pair, compare};
use std::time::Duration;

/// What pairs tell.
pub(super) struct PairResult {
    pub(super) comparison: Comparison,
    /// How long a handler takes on average when nothing runs beside it, without its waits for a core.
    pub(super) uncontended: Option<Duration>,
    /// The share of its time for which a handler needs a core.
    pub(super) cpu_share: Option<f64>,
}

/// Runs so many pairs, each of one call a lane at least and two in all.
pub(super) async fn run(work: &Workload, pairs: usize, call_slots: usize) -> Result<PairResult, MeasureError> {
    let (calls, mut timed, mut serial) = (calls(call_slots), Vec::new(), SerialTotals::default());
    let whole = UsageWatch::begin(&work.pool).await?;
    let mut all = Vec::new();
    for number in 0..pairs {
        // Now one first and now the other: what warms up or slows down favours neither.
        let (one, many) = if number % 2 == 0 {
            let one = serial.run(work, calls).await?;
            (one, work.run(calls, call_slots).await.checked()?)
        } else {
            let many = work.run(calls, call_slots).await.checked()?;
            (serial.run(work, calls).await?, many)
        };
        timed.extend(pair(&one, &many));
        all.extend(one.operations.into_iter().chain(many.operations));
    }
    let window = Interval { started: 0, ended: crate::now().0 };
    let machine = whole.end(&work.pool, window, &all).await?.machine;
    let circumstances = ComparisonConditions {
        call_slots,
        cores: machine.cores,
        other_load: machine.other_load,
        cpu_share: serial.cpu_share(),
    };
    Ok(PairResult {
        comparison: compare(&timed, &circumstances),
        uncontended: serial.mean(),
        cpu_share: serial.cpu_share(),
    })
}

/// How many calls a pair has, twice.
pub(super) fn calls(call_slots: usize) -> usize {
    call_slots.max(2)
}

fn pair(one: &CallBatch, many: &CallBatch) -> Option<Pair> {
    // Calls that failed took no time: the pair would compare different work.
    let same = one.operations.len() == many.operations.len();
    let (serial, parallel) = (one.window()?.duration(), many.window()?.duration());
    same.then_some(Pair { serial, parallel })
}

/// The serial halves together.
#[derive(Default)]
struct SerialTotals {
    calls: usize,
    work: Duration,
    floor: Duration,
    cpu_time: CpuTime,
    counted: bool,
}

impl SerialTotals {
    async fn run(&mut self, work: &Workload, calls: usize) -> Result<CallBatch, MeasureError> {
        let watch = UsageWatch::begin(&work.pool).await?;
        let batch = work.run(calls, 1).await.checked()?;
        if let Some(window) = batch.window() {
            let watched = watch.end(&work.pool, window, &batch.operations).await?;
            if let Some(CpuTime { used, waited }) = watched.cpu_time() {
                self.cpu_time.used += used;
                self.cpu_time.waited += waited;
                self.counted = true;
            }
        }
        self.floor += batch.floor();
        (self.calls, self.work) = (self.calls + batch.operations.len(), self.work + batch.work());
        Ok(batch)
    }

    fn mean(&self) -> Option<Duration> {
        let calls = u32::try_from(self.calls).ok().filter(|calls| *calls > 0)?;
        Some(without_waits(self.work, self.floor, self.cpu_time) / calls)
    }

    fn cpu_share(&self) -> Option<f64> {
        let ran = without_waits(self.work, self.floor, self.cpu_time).as_secs_f64();
        (self.counted && ran > 0.0).then(|| (self.cpu_time.used.as_secs_f64() / ran).min(1.0))
    }
}

/// The time of handlers without their waits for a core. Some of the waits were before or after a handler, so that it has its time on a
/// processor at least; and, since waits only lengthen, no less than if each had been as short as the shortest.
pub(super) fn without_waits(work: Duration, floor: Duration, cpu_time: CpuTime) -> Duration {
    work.saturating_sub(cpu_time.waited).max(cpu_time.used.min(work)).max(floor.min(work))
}
