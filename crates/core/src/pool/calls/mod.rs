//! The life of a call, step by step: [`submit`] (it is admitted or refused), [`stream`] (its chunks), [`completion`] (a worker finished it, its
//! deadline passed, or its caller abandoned it), [`loss`] (the process that had it exited) and [`retries`] (it is sent
//! again). `dispatch` decides where it runs. The records of the calls are in [`Calls`](crate::calls::Calls).

mod admission;
mod completion;
mod loss;
mod retries;
mod stream;
mod submit;
