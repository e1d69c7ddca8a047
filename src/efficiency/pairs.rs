//! Pairs: the same calls serially and in parallel, alternating, so that load on the machine affects both alike.

use super::{
    MeasureError,
    callers::{CallBatch, Workload},
    watch::UsageWatch,
};
use herder_efficiency::concurrency::{Comparison, ComparisonConditions, CpuTime, Interval, Pair, compare};
use std::time::Duration;

/// The results of all pairs.
pub(super) struct PairResult {
    pub(super) comparison: Comparison,
    /// The average duration of a handler while no other one runs, without its waits for a core.
    pub(super) uncontended: Option<Duration>,
    /// The share of its time for which a handler needs a core.
    pub(super) cpu_share: Option<f64>,
}

/// Runs this number of pairs. Each half of a pair has one call per call slot, and at least two.
pub(super) async fn run(work: &Workload, pairs: usize, call_slots: usize) -> Result<PairResult, MeasureError> {
    let (calls, mut timed, mut serial) = (calls(call_slots), Vec::new(), SerialTotals::default());
    let watch = UsageWatch::begin(&work.pool).await?;
    let mut all = Vec::new();
    for number in 0..pairs {
        // Alternate the order: a machine that warms up or slows down must not favor one of the two.
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
    let window = Interval { started: 0, ended: herder_actors::now().0 };
    let machine = watch.end(&work.pool, window, &all).await?.machine;
    let conditions = ComparisonConditions {
        call_slots,
        cores: machine.cores,
        other_load: machine.other_load,
        cpu_share: serial.cpu_share(),
    };
    Ok(PairResult {
        comparison: compare(&timed, &conditions),
        uncontended: serial.mean(),
        cpu_share: serial.cpu_share(),
    })
}

/// Returns the number of calls in each half of a pair.
pub(super) fn calls(call_slots: usize) -> usize {
    call_slots.max(2)
}

fn pair(one: &CallBatch, many: &CallBatch) -> Option<Pair> {
    // A failed call has no time. If the halves have different numbers of calls, the pair would compare different work.
    let same = one.operations.len() == many.operations.len();
    let (serial, parallel) = (one.window()?.duration(), many.window()?.duration());
    same.then_some(Pair { serial, parallel })
}

/// The sums of all serial halves.
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

/// Returns the time of handlers without their waits for a core. Some of the waits happened before or after a handler.
/// Therefore the result is at least the CPU time, and at least the time that the handlers would take if each were as
/// short as the shortest one, since waits only lengthen a handler.
pub(super) fn without_waits(work: Duration, floor: Duration, cpu_time: CpuTime) -> Duration {
    work.saturating_sub(cpu_time.waited).max(cpu_time.used.min(work)).max(floor.min(work))
}
