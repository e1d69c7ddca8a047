//! The banner of `serve` on standard output: the pools, an example call, and the URL.

use crate::{
    access::{Access, Tokens},
    check::kind,
    logs::{Format, Output},
    source::Origin,
};
use herder::{Pool, config::Launch};
use std::net::SocketAddr;

/// Prints the banner through a separate thread, because standard output may not be read. The first line that starts
/// with `herder listens on` ends with the URL; scripts read it. In JSON each line is an event, and this one has the URL in the
/// field `url`. `pages`: the names and URLs of what people open or enter.
pub(super) fn print(
    stdout: &Output,
    address: SocketAddr,
    origin: &Origin,
    pools: &[Pool],
    access: &Access,
    pages: &[(&str, String)],
) {
    let is_text = stdout.format() == Format::Text;
    let notice = |text: &str, fields: &[(&str, &str)]| stdout.notice(text, fields);
    if *origin == Origin::Demo {
        notice("no herder.toml in this folder; starting two demo pools, `basic` and `sessions`", &[]);
    }
    for pool in pools {
        notice(&line(pool), &[("pool", pool.name().as_str())]);
    }
    if let Access::NewToken { admin: token, .. } = access {
        let token = token.expose();
        let text = "(required by every request; set HERDER_TOKEN or `server.token` to choose another)";
        notice(&format!("token: {token} {text}"), &[("token", token)]);
    }
    if is_text {
        commands(access, address, origin, pools).iter().for_each(|text| notice(text, &[]));
    }
    for (name, url) in pages {
        notice(&format!("{name}: {url}"), &[("url", url)]);
    }
    let url = format!("http://{address}");
    notice(&format!("herder listens on {url}"), &[("url", &url)]);
}

/// Returns what a person can enter: the token as a variable, and a call.
fn commands(access: &Access, address: SocketAddr, origin: &Origin, pools: &[Pool]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Access::NewToken { admin, .. } = access {
        lines.push(format!("export HERDER_TOKEN={}", admin.expose()));
    }
    let header = match access {
        Access::Everyone => "",
        Access::Tokens(Tokens { admin: None, .. }) => " -H \"Authorization: Bearer $HERDER_CALL_TOKEN\"",
        Access::Tokens(_) | Access::NewToken { .. } => " -H \"Authorization: Bearer $HERDER_TOKEN\"",
    };
    if let Some(pool) = pools.first() {
        let (call, body) = if *origin == Origin::Demo { ("echo", "{\"x\":1}") } else { ("COMMAND", "{}") };
        lines.push(format!("try: curl -s http://{address}/v1/pools/{}/call/{call}{header} -d '{body}'", pool.name()));
    }
    lines
}

fn line(pool: &Pool) -> String {
    let config = pool.config();
    let runs = match config.launch() {
        Launch::App { app, .. } => app.to_string(),
        Launch::Command { argv } => argv.join(" "),
    };
    format!("pool {}: {}, {runs}", pool.name(), kind(config))
}
