//! State that decides nothing: what follows from other state (counters, indices, positions), and statistics. Holds no
//! state of its own.

use std::{
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

/// A value that could be recomputed from the rest of the core. It is always equal and not hashed: two cores that mean
/// the same are equal, whatever order their indices were built in. A core whose derived data is wrong is found by
/// `Core::verify` instead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Derived<T>(pub(crate) T);

impl<T> PartialEq for Derived<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Derived<T> {}

impl<T> Hash for Derived<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> Deref for Derived<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Derived<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A value that is only displayed. It is compared, but not hashed: the model checker tells states apart by their hashes,
/// and would visit every state once for each value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistic<T>(pub(crate) T);

impl<T> Hash for Statistic<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> Deref for Statistic<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Statistic<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
