//! The banner of `serve` on standard output: the pools, an example call, and the URL.

use crate::access::Access;
use crate::{check::kind, logs::Output, source::Origin};
use herder::{Pool, config::Launch};
use std::net::SocketAddr;

/// Prints the banner through a separate thread, because standard output may not be read. The first line that starts
/// with `herder listens on` ends with the URL; scripts read it. `pages`: the paths that people open or enter.
pub(super) fn print(
    stdout: &Output,
    address: SocketAddr,
    origin: &Origin,
    pools: &[Pool],
    access: &Access,
    pages: &[&str],
) {
    let out = |text: &str| stdout.line(text);
    if *origin == Origin::Demo {
        out("no herder.toml in this folder; starting two demo pools, `basic` and `sessions`");
    }
    for pool in pools {
        out(&line(pool));
    }
    let header = match access {
        Access::Everyone => "",
        Access::Token(_) => " -H \"Authorization: Bearer $HERDER_TOKEN\"",
        Access::NewToken(token) => {
            out(&format!(
                "token: {} (required by every request; set HERDER_TOKEN or `server.token` to choose another)",
                token.expose()
            ));
            out(&format!("export HERDER_TOKEN={}", token.expose()));
            " -H \"Authorization: Bearer $HERDER_TOKEN\""
        }
    };
    if let Some(pool) = pools.first() {
        let (call, body) = if *origin == Origin::Demo { ("echo", "{\"x\":1}") } else { ("COMMAND", "{}") };
        out(&format!("try: curl -s http://{address}/v1/pools/{}/call/{call}{header} -d '{body}'", pool.name()));
    }
    for page in pages {
        out(&format!("{page}: http://{address}/{page}"));
    }
    out(&format!("herder listens on http://{address}"));
}

fn line(pool: &Pool) -> String {
    let config = pool.config();
    let runs = match config.launch() {
        Launch::App { app, .. } => app.to_string(),
        Launch::Command { argv } => argv.join(" "),
    };
    format!("pool {}: {}, {runs}", pool.name(), kind(config))
}
