//! Load on the machine while a suite runs: as many threads that compute as there are cores, and what the load average is.

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Threads that compute until this is dropped. Nothing of them is left when this program ends, however it ends.
#[derive(Debug, Default)]
pub(crate) struct Load {
    over: Arc<AtomicBool>,
}

impl Load {
    /// One thread for each core.
    pub(crate) fn begin() -> Self {
        let load = Self::default();
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let over = load.over.clone();
            thread::spawn(move || compute(&over));
        }
        load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn compute(over: &AtomicBool) {
    let mut number = 1_u64;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..10_000 {
            number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

/// Of the last minute, where the system says so.
pub(crate) fn average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
