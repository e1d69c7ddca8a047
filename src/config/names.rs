//! Unknown names in a configuration file: keys of the original pool ([`dspex`]), and misspelled keys, with a suggestion.

use super::dspex;
use herder_actors::schema::{Key, TABLE};

/// Names that other servers use for `pool_size`.
const POOL_SIZE: &[&str] = &["workers", "num_workers", "max_workers", "processes", "size"];

/// Returns the message for an unknown key of a pool.
pub(super) fn unknown_in_pool(prefix: &str, name: &str) -> String {
    // A key of a nested table is not looked up in other tables: `breaker.failures` does not mean `health.failures`.
    let path = match prefix {
        "" => misplaced(name).or_else(|| POOL_SIZE.contains(&name).then_some("pool_size")),
        _ => None,
    };
    match (dspex::key(name), path) {
        (Some(answer), _) => answer,
        (None, Some(path)) => {
            format!("unknown key; did you mean `{path}`? Allowed: {}", names_under(prefix).join(", "))
        }
        (None, None) => unknown(name, &names_under(prefix)),
    }
}

/// Returns the message for an unknown key, with the allowed ones.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(meant) => format!("unknown key; did you mean `{meant}`? Allowed: {}", known.join(", ")),
        None => format!("unknown key; allowed: {}", known.join(", ")),
    }
}

/// Returns the word that was probably meant: the nearest one, if at most a third of its letters differ.
pub(super) fn nearest<'a>(given: &str, words: &[&'a str]) -> Option<&'a str> {
    let near = words.iter().map(|word| (strsim::osa_distance(given, word), *word));
    near.filter(|(distance, word)| *distance <= usize::max(1, word.len() / 3)).min().map(|(_, word)| word)
}

/// Returns whether this is the path of a table of keys, such as `queue`.
pub(super) fn is_group(path: &str) -> bool {
    TABLE.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns the names directly in a table of keys; for the empty path, those of a pool.
pub(super) fn names_under(prefix: &str) -> Vec<&'static str> {
    let under = |key: &'static Key| match prefix {
        "" => key.path.split('.').next(),
        _ => key.path.strip_prefix(prefix)?.strip_prefix('.'),
    };
    let mut names: Vec<_> = TABLE.iter().filter_map(under).collect();
    names.dedup();
    names
}

/// Returns the full path of a key that was given without its table: `sessions.expiry` for `expiry`. `None` if several
/// tables have such a key.
fn misplaced(name: &str) -> Option<&'static str> {
    let mut matches = TABLE.iter().filter(|key| key.leaf() == name);
    let key = matches.next()?;
    matches.next().is_none().then_some(key.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_servers_are_not_in_the_table() {
        assert!(
            POOL_SIZE.iter().all(|name| !is_group(name) && Key::find(name).is_none() && dspex::key(name).is_none())
        );
    }

    #[test]
    fn nearest_finds_misspellings_and_no_other_words() {
        let words = ["pool_size", "python", "env"];
        assert_eq!(nearest("pool_sze", &words), Some("pool_size"));
        assert_eq!(nearest("pyhton", &words), Some("python"));
        assert_eq!(nearest("evn", &words), Some("env"));
        assert_eq!(nearest("colour", &words), None);
    }

    #[test]
    fn names_under_a_group_are_listed() {
        assert_eq!(names_under("cancel"), ["interrupt", "kill"]);
        assert!(is_group("queue") && !is_group("que") && !is_group("timeout"));
    }
}
