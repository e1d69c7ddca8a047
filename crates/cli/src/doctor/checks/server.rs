//! The configuration, the log, the address, and a running server.

use super::super::{
    check::Check,
    facts::{Facts, server::ServerFacts, traces::Collector},
};
use crate::pool_list::{ListedPool, PoolList};

const OWN: &str = env!("CARGO_PKG_VERSION");
/// A difference of the clocks that is a finding, in milliseconds. The header that it is read from has whole seconds.
const CLOCK_SKEW_MS: i64 = 2500;

pub(super) fn configuration(facts: &Facts) -> Option<Check> {
    const NAME: &str = "configuration";
    Some(match facts.source.as_ref()? {
        Ok(source) => match &facts.missing_programs {
            None => Check::ok(NAME, source.as_str()),
            Some(reason) => Check::error(
                NAME,
                reason.as_str(),
                "no server starts with it; no worker of such a pool was started",
                "correct the key, or create what is missing; `herder check` prints the same problems",
            ),
        },
        Err(reason) => Check::error(
            NAME,
            reason.as_str(),
            "no server starts with it; its pools were not examined",
            "correct it; `herder check` prints each problem with its line",
        ),
    })
}

/// The tokens of the server, and their files.
pub(super) fn access(facts: &Facts) -> Option<Check> {
    const NAME: &str = "access";
    Some(match facts.access.as_ref()? {
        Ok(access) => Check::ok(NAME, access.as_str()),
        Err(reason) => Check::error(
            NAME,
            reason.as_str(),
            "`herder serve` does not start",
            "correct the keys of `[server]`, the variables with tokens, or the file",
        ),
    })
}

/// A finding for each token file that every user can read.
pub(super) fn exposed_files(facts: &Facts) -> Vec<Check> {
    let exposed = |path: std::path::Display<'_>| {
        Check::warning(
            "access",
            format!("every user of this machine can read the token file {path}"),
            "whoever reads the token can use the server with it",
            format!("run `chmod o= {path}`"),
        )
    };
    facts.exposed_files.iter().map(|path| exposed(path.display())).collect()
}

pub(super) fn log(facts: &Facts) -> Option<Check> {
    const NAME: &str = "HERDER_LOG";
    Some(match facts.log.as_ref()? {
        Ok(filter) => Check::ok(NAME, filter.as_str()),
        Err(reason) => Check::error(
            NAME,
            reason.as_str(),
            "commands that write a log do not start",
            "correct or unset the variable",
        ),
    })
}

/// The address and, if a server runs there, its version, its pools and its clock.
pub(super) fn server(server: &ServerFacts) -> Vec<Check> {
    let Some(health) = &server.health else { return vec![without_server(server)] };
    let address = &server.address;
    let mut checks = vec![if health.version == OWN {
        let second = if server.is_named { "" } else { "; a second `herder serve` needs another address" };
        Check::ok("server", format!("herder {OWN} runs at {address}{second}"))
    } else {
        Check::warning(
            "server",
            format!("herder {} runs at {address}; this program is {OWN}", health.version),
            "commands may not understand its answers, or ask for what it does not have",
            "restart the server with this version, or use the `herder` that started it",
        )
    }];
    checks.extend(server.pools.as_ref().map(pools));
    checks.extend(server.ahead_ms.map(skew));
    checks
}

/// The collector of traces.
pub(super) fn collector(collector: &Collector) -> Check {
    const NAME: &str = "traces";
    let url = &collector.url;
    match &collector.problem {
        None => Check::ok(NAME, format!("the collector at {url} takes spans")),
        Some(problem) => Check::warning(
            NAME,
            format!("no collector takes spans at {url}: {problem}"),
            "calls run, but their traces are lost",
            "start an OpenTelemetry collector there that accepts OTLP over HTTP in JSON, or correct or remove `traces.endpoint`",
        ),
    }
}

fn without_server(server: &ServerFacts) -> Check {
    let address = &server.address;
    match &server.occupied {
        _ if server.is_named => Check::error(
            "server",
            format!("no Herder server answers at {address}"),
            "commands such as `herder status` cannot reach it",
            "start it, or correct --url or HERDER_URL",
        ),
        None => Check::ok("address", format!("{address} is free; no server runs")),
        Some(reason) => {
            let who = server.listener.as_ref().map(|name| format!(": {name} listens there")).unwrap_or_default();
            Check::error(
                "address",
                format!("{address} cannot be used{who} ({reason})"),
                "`herder serve` does not start",
                "stop the other program, or choose another address with `server.listen` or --listen",
            )
        }
    }
}

/// Examines the pools that the server shows.
fn pools(shown: &Result<PoolList, String>) -> Check {
    let list = match shown {
        Ok(list) => &list.pools,
        Err(reason) => {
            return Check::error(
                "pools",
                format!("the server does not show its pools: {reason}"),
                "this command and `herder status` cannot examine it",
                "set HERDER_TOKEN or HERDER_CALL_TOKEN to a token of the server",
            );
        }
    };
    let sick: Vec<String> = list.iter().filter(|pool| !pool.is_healthy).map(describe).collect();
    if sick.is_empty() {
        return Check::ok("pools", format!("{} healthy", list.len()));
    }
    let action = "`herder status POOL` and the log of the server show more";
    Check::error("pools", sick.join("; "), "calls to these pools wait or fail", action)
}

fn describe(pool: &ListedPool) -> String {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let (ready, size) = (number(pool.ready_workers), number(pool.pool_size));
    let problem = pool.problem.as_ref().map(|problem| format!(", {problem}")).unwrap_or_default();
    format!("{}: {}, {ready} of {size} workers ready{problem}", pool.name, pool.state.as_deref().unwrap_or("-"))
}

fn skew(ahead_ms: i64) -> Check {
    if ahead_ms.abs() <= CLOCK_SKEW_MS {
        return Check::ok("server clock", "agrees with the clock of this machine");
    }
    let (seconds, side) = (ahead_ms.abs() / 1000, if ahead_ms > 0 { "ahead of" } else { "behind" });
    Check::warning(
        "server clock",
        format!("{seconds} s {side} the clock of this machine"),
        "times in its log and answers do not fit those of this machine",
        "start a time service (NTP) on both machines",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Health, doctor::check::Level};
    use serde_json::{Value, json};

    fn levels(facts: &ServerFacts) -> Vec<(&'static str, Level)> {
        server(facts).iter().map(|check| (check.check, check.level)).collect()
    }

    #[test]
    fn an_address_is_free_or_somebody_listens() {
        let free = ServerFacts { address: "127.0.0.1:7878".into(), ..ServerFacts::default() };
        assert_eq!(levels(&free), [("address", Level::Ok)]);
        let (occupied, listener) = (Some("Address in use".into()), Some("nginx (process 7)".into()));
        let taken = ServerFacts { occupied, listener, ..free.clone() };
        assert_eq!(levels(&taken), [("address", Level::Error)]);
        assert!(server(&taken)[0].found.contains(": nginx (process 7) listens there (Address in use)"));
        assert_eq!(levels(&ServerFacts { is_named: true, ..free }), [("server", Level::Error)]);
    }

    #[test]
    fn a_running_server_is_examined() {
        let running = |version: &str, pool: Value, ahead_ms| ServerFacts {
            health: Some(Health { version: version.into(), date: None }),
            pools: Some(Ok(PoolList::of(&json!({ "pools": [pool] })))),
            ahead_ms: Some(ahead_ms),
            ..ServerFacts::default()
        };
        let healthy = json!({ "pool": "carts", "healthy": true });
        let all = levels(&running(OWN, healthy.clone(), -900));
        assert_eq!(all, [("server", Level::Ok), ("pools", Level::Ok), ("server clock", Level::Ok)]);
        let sick = json!({
            "pool": "carts", "healthy": false, "state": "failed", "ready_workers": 0, "pool_size": 4, "last_start_error": "no torch",
        });
        let facts = running("0.0.9", sick, -4000);
        let all = levels(&facts);
        assert_eq!(all, [("server", Level::Warning), ("pools", Level::Error), ("server clock", Level::Warning)]);
        assert!(
            server(&running(OWN, healthy.clone(), 0))[0]
                .found
                .ends_with("; a second `herder serve` needs another address")
        );
        assert_eq!(server(&facts)[1].found, "carts: failed, 0 of 4 workers ready, no torch");
        assert_eq!(server(&facts)[2].found, "4 s behind the clock of this machine");
        let refused = ServerFacts { pools: Some(Err("no token".into())), ..running(OWN, healthy, 0) };
        assert_eq!(levels(&refused)[1], ("pools", Level::Error));
    }

    #[test]
    fn invalid_settings_are_errors() {
        let facts = Facts { source: Some(Err("bad".into())), log: Some(Err("bad".into())), ..Facts::default() };
        assert_eq!(configuration(&facts).unwrap().level, Level::Error);
        assert_eq!(log(&facts).unwrap().level, Level::Error);
        assert!(log(&Facts::default()).is_none(), "not set");
    }
}
