//! The number of threads of the numeric libraries in a worker: the setting, and the variables that it sets. Does not read the
//! environment.

use std::num::NonZero;

/// The number of threads of the numeric libraries in a worker: OpenMP, OpenBLAS, MKL, NumExpr and Accelerate.
///
/// By default each of these libraries starts one thread per core in each worker. Workers that compute at the same time then
/// have many more threads than there are cores, and are several times slower.
///
/// ```
/// # use herder_actors::{NumericThreads, PoolConfig};
/// use std::num::NonZero;
/// let config = PoolConfig::basic("models").app("models.py:app").build()?;
/// assert_eq!(config.numeric_threads(), NumericThreads::Auto);
/// let two = NumericThreads::Fixed(NonZero::<u16>::MIN.saturating_add(1));
/// let config = PoolConfig::basic("models").app("models.py:app").numeric_threads(two).build()?;
/// assert_eq!(config.numeric_threads(), two);
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumericThreads {
    /// Each worker's share of the cores: `max(1, cores / pool_size)`.
    #[default]
    Auto,
    /// The libraries' own defaults: Herder sets no variable.
    Unset,
    /// This number in each worker.
    Fixed(NonZero<u16>),
}

/// The variable of OpenMP.
pub(crate) const OPENMP: &str = "OMP_NUM_THREADS";
/// The variables of libraries that use the value of `OMP_NUM_THREADS` if their own variable is not set.
const AS_OPENMP: [&str; 3] = ["OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"];
/// The variable of Accelerate (macOS), which does not read OpenMP's.
const ACCELERATE: &str = "VECLIB_MAXIMUM_THREADS";

/// All variables.
pub(crate) const ALL: [&str; 5] = [OPENMP, AS_OPENMP[0], AS_OPENMP[1], AS_OPENMP[2], ACCELERATE];

impl NumericThreads {
    /// Returns the number for each worker of a pool with `pool_size` base workers; `None`: no variable is set. Overflow
    /// workers are not counted: they run for short times, and a library reads its number once, so cores would be idle the
    /// rest of the time.
    pub(crate) fn of_each(self, cores: usize, pool_size: u32) -> Option<usize> {
        match self {
            Self::Auto => Some(usize::max(1, cores / usize::max(1, pool_size as usize))),
            Self::Unset => None,
            Self::Fixed(threads) => Some(usize::from(threads.get())),
        }
    }
}

/// Returns the variables to set. `is_set` says which ones the worker has already; these are not changed. If OpenMP's variable
/// is set, the variables of the libraries that use its value are not set either: they would override it.
pub(crate) fn variables(is_set: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let followers = AS_OPENMP.into_iter().filter(|_| !is_set(OPENMP));
    let all = [OPENMP].into_iter().chain(followers).chain([ACCELERATE]);
    all.filter(|name| !is_set(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_share_and_at_least_one() {
        let share = |cores, pool_size| NumericThreads::Auto.of_each(cores, pool_size);
        for (cores, pool_size, threads) in [(8, 1, 8), (8, 3, 2), (8, 8, 1), (2, 4, 1), (64, 3, 21), (1, 1024, 1)] {
            assert_eq!(share(cores, pool_size), Some(threads), "{pool_size} workers on {cores} cores");
        }
        assert_eq!(NumericThreads::Unset.of_each(8, 1), None);
        assert_eq!(NumericThreads::Fixed(NonZero::new(3).unwrap()).of_each(8, 8), Some(3));
    }

    #[test]
    fn thread_variables_already_set_are_kept() {
        let with = |set: &[&str]| variables(|name| set.contains(&name)).join(" ");
        let all = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS VECLIB_MAXIMUM_THREADS";
        assert_eq!(with(&[]), all);
        assert_eq!(with(&["OTHER"]), all);
        assert_eq!(with(&["MKL_NUM_THREADS"]), all.replace("MKL_NUM_THREADS ", ""));
        assert_eq!(with(&["OMP_NUM_THREADS"]), "VECLIB_MAXIMUM_THREADS");
        assert_eq!(with(&["OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"]), "");
    }
}
