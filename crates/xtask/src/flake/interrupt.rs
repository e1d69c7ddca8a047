//! The signals that end this program, caught: the test program that runs is in a group of its own, and has to be ended first. Holds
//! the last signal that came.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Whether to stop, and for which signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP end nothing by themselves.
    pub(crate) fn caught() -> io::Result<Self> {
        let came = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register_usize(signal, came.0.clone(), signal.unsigned_abs() as usize)?;
        }
        Ok(came)
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0)
    }

    #[cfg(test)]
    pub(crate) fn come(signal: usize) -> Self {
        Self(Arc::new(signal.into()))
    }
}
