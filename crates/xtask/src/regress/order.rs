//! In which order the two sides of each pair run. Pure.

use fastrand::Rng;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Base,
    Head,
}

/// Base first or head first, by the seed, and the next pair the other way round: what comes second, and what drifts, does neither good.
pub(crate) fn pairs(seed: u64, pairs: u32) -> Vec<[Side; 2]> {
    let mut random = Rng::with_seed(seed);
    let mut order = [Side::Base, Side::Head];
    (0..pairs)
        .map(|at| {
            if at % 2 == 1 || random.bool() {
                order.reverse();
            }
            order
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_first_as_often_as_the_other_and_not_by_a_rule() {
        let order = pairs(3, 40);
        let first = |pairs: &[[Side; 2]]| pairs.iter().filter(|pair| pair[0] == Side::Base).count();
        assert_eq!(first(&order), 20);
        assert!(order.chunks(2).all(|two| first(two) == 1), "each two pairs are ABBA or BAAB");
        let begins: Vec<_> = order.chunks(2).map(|two| two[0][0]).collect();
        assert!(begins.contains(&Side::Base) && begins.contains(&Side::Head));
        assert_eq!(order, pairs(3, 40));
        assert!(order.iter().all(|pair| pair[0] != pair[1]));
    }
}
