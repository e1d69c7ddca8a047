//! Names that are not keys here: those of the original pool ([`legacy`]), those that come later, and misspellings with the key that was
//! meant.

use crate::legacy;
use herder_actors::schema::{Key, TABLE};

/// Keys that are planned. To take them and do nothing would be worse than to refuse them.
const PLANNED_KEYS: &[&str] = &["lazy"];

/// What other servers call `pool_size`.
const POOL_SIZE: &[&str] = &["workers", "num_workers", "max_workers", "processes", "size"];

/// What to say of a key of a pool that is none.
pub(super) fn unknown_in_pool(prefix: &str, name: &str) -> String {
    if prefix.is_empty() && PLANNED_KEYS.contains(&name) {
        return "is not supported yet; remove it".into();
    }
    let path = misplaced(name).or_else(|| (prefix.is_empty() && POOL_SIZE.contains(&name)).then_some("pool_size"));
    match (legacy::key(name), path) {
        (Some(answer), _) => answer,
        (None, Some(path)) => format!("unknown key; did you mean `{path}`?{}", listed(&names_under(prefix))),
        (None, None) => unknown(name, &names_under(prefix)),
    }
}

/// What to say of a key that is none, where these are known.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?{}", listed(known)),
        None => format!("unknown key.{}", listed(known)),
    }
}

/// The word that was probably meant: at most a third of it wrong.
pub(super) fn nearest<'a>(given: &str, words: &[&'a str]) -> Option<&'a str> {
    let near = words.iter().map(|word| (strsim::osa_distance(given, word), *word));
    near.filter(|(distance, word)| *distance <= usize::max(1, word.len() / 3)).min().map(|(_, word)| word)
}

/// Whether this is the path of a table of keys: `queue`.
pub(super) fn is_group(path: &str) -> bool {
    TABLE.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The names right under a group; under the pool itself for the empty path.
pub(super) fn names_under(prefix: &str) -> Vec<&'static str> {
    let under = |key: &'static Key| match prefix {
        "" => key.path.split('.').next(),
        _ => key.path.strip_prefix(prefix)?.strip_prefix('.'),
    };
    let mut names: Vec<_> = TABLE.iter().filter_map(under).collect();
    names.dedup();
    names
}

/// A name that is right, but not here: `expiry` is `sessions.expiry`. Ambiguous ones don't count.
fn misplaced(name: &str) -> Option<&'static str> {
    let mut homes = TABLE.iter().filter(|key| key.leaf() == name);
    let home = homes.next()?;
    homes.next().is_none().then_some(home.path)
}

fn listed(known: &[&str]) -> String {
    format!(" Known keys: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_later_are_not_there_yet() {
        assert!(PLANNED_KEYS.iter().all(|name| !is_group(name) && Key::find(name).is_none()));
    }

    #[test]
    fn names_of_other_servers_are_no_keys() {
        assert!(
            POOL_SIZE.iter().all(|name| !is_group(name) && Key::find(name).is_none() && legacy::key(name).is_none())
        );
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["pool_size", "python", "env"];
        assert_eq!(nearest("pool_sze", &words), Some("pool_size"));
        assert_eq!(nearest("pyhton", &words), Some("python"));
        assert_eq!(nearest("evn", &words), Some("env"));
        assert_eq!(nearest("colour", &words), None);
    }

    #[test]
    fn groups_know_their_names() {
        assert_eq!(names_under("cancel"), ["interrupt", "kill"]);
        assert!(is_group("queue") && !is_group("que") && !is_group("timeout"));
    }
}
