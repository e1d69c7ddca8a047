//! The work on slabs that takes long: the system allocates the pages of a new one, and large buffers are copied. The writer of the
//! worker's calls has it done on a thread of its own, so that the pool does not wait for it.

use super::{budget::Reservation, held::Held};
use bytes::Bytes;
use herder_process::{ArgumentSlab, ResultSlab, SlabFile};
use std::{io, num::NonZeroU64};

/// Work on one slab. It owns what it needs, with the part of the budget: if nobody waits for its end, both are released then.
#[derive(Debug)]
pub(crate) struct SlabWork {
    slab: NonZeroU64,
    task: Task,
}

#[derive(Debug)]
pub(super) enum Task {
    MakeArguments(New, Vec<Source>),
    Fill(ArgumentMemory, Vec<Source>),
    MakeResults(New),
}

/// A slab that does not exist yet.
#[derive(Debug)]
pub(super) struct New {
    pub(super) size: usize,
    pub(super) reservation: Reservation,
}

/// Bytes to be copied, and the place in the slab.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) offset: usize,
    pub(super) bytes: Bytes,
}

/// The memory of a slab that the host writes.
#[derive(Debug)]
pub(crate) struct ArgumentMemory(Held<ArgumentSlab>);

/// What was made.
#[derive(Debug)]
pub(crate) enum Made {
    /// With its file if it is new.
    Arguments(ArgumentMemory, Option<SlabFile>),
    Results(Held<ResultSlab>),
}

impl SlabWork {
    pub(super) fn new(slab: NonZeroU64, task: Task) -> Self {
        Self { slab, task }
    }

    /// Returns the number of the slab.
    pub(crate) fn slab(&self) -> NonZeroU64 {
        self.slab
    }

    pub(super) fn into_task(self) -> Task {
        self.task
    }

    /// Does the work, on any thread. Takes tens of milliseconds for 64 MiB.
    ///
    /// # Errors
    /// The slab cannot be made.
    pub(crate) fn run(self) -> io::Result<Made> {
        #[cfg(feature = "fault-injection")]
        self.wait_while_held();
        match self.task {
            Task::MakeArguments(New { size, reservation }, sources) => {
                let (slab, file) = ArgumentSlab::create(size)?;
                let mut memory = ArgumentMemory(Held::new(slab, reservation));
                memory.fill(&sources);
                Ok(Made::Arguments(memory, Some(file)))
            }
            Task::Fill(mut memory, sources) => {
                memory.fill(&sources);
                Ok(Made::Arguments(memory, None))
            }
            Task::MakeResults(New { size, reservation }) => {
                Ok(Made::Results(Held::new(ResultSlab::create(size)?, reservation)))
            }
        }
    }
}

#[cfg(feature = "fault-injection")]
impl SlabWork {
    fn wait_while_held(&self) {
        match &self.task {
            Task::MakeArguments(New { reservation, .. }, _) | Task::MakeResults(New { reservation, .. }) => {
                reservation.wait_while_held();
            }
            Task::Fill(ArgumentMemory(memory), _) => {
                memory.reservation().into_iter().for_each(Reservation::wait_while_held);
            }
        }
    }
}

impl ArgumentMemory {
    /// Copies these bytes. The size of the slab follows from them, so that all are within it.
    pub(super) fn fill(&mut self, sources: &[Source]) {
        let Some(slab) = self.0.get_mut() else { return };
        for Source { offset, bytes } in sources {
            slab.write(*offset, bytes);
        }
    }
}

impl Made {
    /// Returns the file that the worker must be sent, if the slab is new.
    pub(super) fn new_file(&self) -> Option<&SlabFile> {
        match self {
            Self::Arguments(_, file) => file.as_ref(),
            Self::Results(slab) => slab.get().map(ResultSlab::file),
        }
    }
}
