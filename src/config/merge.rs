//! Merges the defaults into the keys of a pool. Keys that a pool of this type cannot have are not inherited.

use herder_actors::WorkerType;
use herder_actors::schema::{Scope, TABLE};
use toml::{Table, Value};

/// Returns the keys of a pool by their paths, such as `queue.limit`. A key that the pool does not set has the value of
/// the defaults.
pub(super) fn merged(own: &Table, defaults: &Table, worker_type: WorkerType) -> Table {
    let mut keys = Table::new();
    for key in TABLE {
        let inherits = match key.scope {
            Scope::Any => key.path != "python" || !own.contains_key("command"),
            Scope::Own => false,
            Scope::Enhanced => worker_type == WorkerType::Enhanced,
        };
        let default = find(defaults, key.path).filter(|_| inherits);
        if let Some(value) = both(find(own, key.path), default) {
            keys.insert(key.path.into(), value);
        }
    }
    keys
}

/// Returns the pool's value, or else the default. Two tables (`env`) are merged; the pool's entries win.
fn both(own: Option<&Value>, default: Option<&Value>) -> Option<Value> {
    match (own, default) {
        (Some(Value::Table(own)), Some(Value::Table(default))) => {
            let mut table = default.clone();
            table.extend(own.clone());
            Some(Value::Table(table))
        }
        (own, default) => own.or(default).cloned(),
    }
}

fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        Some((group, rest)) => find(table.get(group)?.as_table()?, rest),
        None => table.get(path),
    }
}
