//! Puts the defaults under a pool's own keys, by the table: what a pool of this type can't have is not inherited.

use herder_actors::WorkerType;
use herder_actors::schema::{Scope, TABLE};
use toml::{Table, Value};

/// A pool's keys by their paths (`queue.limit`): its own, else the default's.
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

/// The pool's own value, else the default; of two tables (`env`) both, the own on top.
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
