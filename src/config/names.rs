//! Names that are not keys here: those of the original pool with what they are called now, those that come later, and
//! misspellings with the key that was meant.

use herder_actors::schema::{Key, TABLE};

/// What became of a key of the original.
enum Now {
    /// It is this key.
    Key(&'static str),
    /// It is not a key any more, and this is why.
    Gone(&'static str),
}

use Now::{Gone, Key as Is};

/// The original's keys (R53).
const ORIGINAL: &[(&str, Now)] = &[
    ("worker_module", Is("worker_type")),
    ("preferred_worker_type", Is("worker_type")),
    ("session_affinity_enabled", Is("features.session_affinity")),
    ("worker_metrics_enabled", Is("features.worker_metrics")),
    ("state_machine_enabled", Is("features.state_machine")),
    ("max_overflow", Is("overflow")),
    ("pool_overflow", Is("overflow")),
    ("pool_timeout", Is("queue.timeout")),
    ("checkout_timeout", Is("queue.timeout")),
    ("queue_timeout", Is("queue.timeout")),
    ("operation_timeout", Is("timeout")),
    ("init_timeout", Is("start_timeout")),
    ("health_check_interval", Is("health.interval")),
    ("health_check_timeout", Is("health.timeout")),
    ("max_health_failures", Is("health.failures")),
    ("session_timeout", Is("sessions.timeout")),
    ("session_cleanup_interval", Is("sessions.cleanup_interval")),
    ("grace_period", Is("sessions.grace")),
    ("max_restarts", Is("restart.max")),
    ("max_seconds", Is("restart.within")),
    ("python_path", Is("python")),
    ("python_executable", Is("python")),
    ("script_path", Is("app")),
    ("environment", Is("env")),
    ("enhanced_worker_features", Gone("`features` here, with the same three names")),
    ("pool_lazy", Gone("not here yet: workers start with their pool")),
    ("max_retries", Gone("`retry.attempts` here, which counts the first one too")),
    ("failure_threshold", Is("breaker.failures")),
    ("success_threshold", Is("breaker.successes")),
    ("half_open_requests", Is("breaker.probes")),
    ("telemetry_period", Gone("not here yet: there are no metrics to send")),
    ("name", Gone("the name of its table, `[pools.NAME]`")),
    ("pool_name", Gone("the name of its table, `[pools.NAME]`")),
    ("pool_mode", Gone("not needed: each `[pools.NAME]` is a pool")),
    ("pooling_enabled", Gone("not needed: each `[pools.NAME]` is a pool")),
];

/// Keys that are planned. To take them and do nothing would be worse than to refuse them.
const LATER: &[&str] = &["lazy"];

/// What to say of a key of a pool that is none.
pub(super) fn unknown_in_pool(prefix: &str, name: &str) -> String {
    if prefix.is_empty() && LATER.contains(&name) {
        return "comes with a later version; leave it out until then".into();
    }
    match (ORIGINAL.iter().find(|(old, _)| *old == name), misplaced(name)) {
        (Some((_, Is(key))), _) => format!("the original's `{name}` is `{key}` here"),
        (Some((_, Gone(why))), _) => format!("the original's `{name}` is {why}"),
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
    format!(" Known here: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R53: an answer that names a key which does not exist would be worse than none.
    #[test]
    fn r53_the_original_s_keys_lead_to_keys() {
        for (old, now) in ORIGINAL {
            assert!(Key::find(old).is_none() && !is_group(old), "{old} is a key of ours");
            if let Is(path) = now {
                assert!(Key::find(path).is_some(), "{old} leads to {path}");
            }
        }
        assert!(LATER.iter().all(|name| !is_group(name) && Key::find(name).is_none()));
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
