//! Checks the tables `[pools.NAME.batch.COMMAND]`. The names of commands are not checked: only a worker knows them.

use super::{duration, error::ProblemCollector, names::unknown};
use herder_actors::{BatchSettings, schema::Key};
use std::{num::NonZeroU32, time::Duration};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

const KEYS: [&str; 2] = ["max_batch_size", "max_wait"];

/// Reports each invalid value and each unknown key in the value of `batch`. `place` is its path.
pub(super) fn check(report: &mut ProblemCollector<'_>, key: &Key, place: &str, value: &Spanned<DeValue<'_>>) {
    let Some(commands) = table(report, key, place, value) else { return };
    for (command, limits) in commands {
        let place = format!("{place}.{}", command.get_ref());
        let Some(limits) = table(report, key, &place, limits) else { continue };
        for (name, value) in limits {
            let (name, span) = (name.get_ref().as_ref(), name.span());
            let place = format!("{place}.{name}");
            let wrong = match name {
                "max_batch_size" => size(value.get_ref()),
                "max_wait" => wait(value.get_ref()),
                _ => {
                    report.add(&span, place, unknown(name, &KEYS));
                    continue;
                }
            };
            if let Err(message) = wrong {
                let given = report.quote(&value.span());
                report.add(&value.span(), place, format!("{given} {message}"));
            }
        }
    }
}

fn table<'v, 'i>(
    report: &mut ProblemCollector<'_>,
    key: &Key,
    place: &str,
    value: &'v Spanned<DeValue<'i>>,
) -> Option<&'v DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        let given = report.quote(&value.span());
        report.add(&value.span(), place, format!("{given} is not a table; allowed: {}", key.kind.allowed()));
    }
    table
}

fn size(value: &DeValue<'_>) -> Result<(), String> {
    let Some(number) = value.as_integer() else { return Err("is not an integer; allowed: 1 to 65536".into()) };
    let size = u32::from_str_radix(number.as_str(), number.radix()).ok().and_then(NonZeroU32::new);
    let limits = size.map(|size| BatchSettings { max_batch_size: Some(size), max_wait: None });
    match limits.map(|limits| limits.check()) {
        Some(Ok(())) => Ok(()),
        _ => Err("is out of bounds; allowed: 1 to 65536".into()),
    }
}

fn wait(value: &DeValue<'_>) -> Result<(), String> {
    const ALLOWED: &str = "a duration of at most 1m, such as \"2ms\"";
    let parsed: Result<Duration, String> = match value {
        DeValue::String(text) => duration::parse(text),
        DeValue::Integer(number) => Err(format!("add a unit, such as \"{number}ms\"")),
        _ => return Err(format!("is not a duration; allowed: {ALLOWED}")),
    };
    let wait = parsed.map_err(|why| format!("is not a duration ({why}); allowed: {ALLOWED}"))?;
    let limits = BatchSettings { max_batch_size: None, max_wait: Some(wait) };
    limits.check().map_err(|_| format!("is out of bounds; allowed: {ALLOWED}"))
}
