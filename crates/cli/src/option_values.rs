//! Parses the values of options that need more than a type: addresses, durations within bounds, pairs. Pure, apart from the
//! resolution of names.

use clap::builder::UnknownArgumentValueParser;
use herder::config::{Server, duration};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// Resolves an address to listen on. Prefers IPv4 if a name has several addresses.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses: Vec<_> = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; allowed: HOST:PORT, such as 127.0.0.1:7878"))?
        .collect();
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    chosen.copied().ok_or_else(|| "the host name has no address; allowed: HOST:PORT, such as 127.0.0.1:7878".into())
}

pub(crate) fn keep_alive(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let fits = time <= Server::LONGEST_KEEP_ALIVE;
    if fits { Ok(time) } else { Err("out of bounds; allowed: a duration of at most 24h".into()) }
}

pub(crate) fn client_timeout(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let fits = !time.is_zero() && time <= Server::LONGEST_TIMEOUT;
    if fits { Ok(time) } else { Err("out of bounds; allowed: a duration greater than 0s and at most 24h".into()) }
}

/// Parses the time between two outputs.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err("out of bounds; allowed: a duration from 100ms to 1h".into()) }
}

pub(crate) fn named_argument(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.ok_or("allowed: NAME=VALUE, such as item=tea")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_valid =
        |name: &str, value: &str| !name.is_empty() && name.bytes().all(is_token) && !value.contains(char::is_control);
    match text.split_once('=') {
        Some((name, value)) if is_valid(name, value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("allowed: NAME=VALUE, such as x-tenant=acme, with the name of a header and a value without control \
                  characters"
            .into()),
    }
}

pub(crate) fn attachment(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once("=@").filter(|(name, file)| !name.is_empty() && !file.is_empty());
    let pair = pair.filter(|(name, _)| !name.contains(|c: char| "\"\\".contains(c) || c.is_control()));
    let pair = pair.ok_or("allowed: NAME=@FILE, such as image=@cat.png")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

pub(crate) fn base_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").unwrap_or_default();
    let fits = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']);
    if fits {
        return Ok(text.trim_end_matches('/').into());
    }
    // clap calls the value that of `--url`, also if it is that of the variable.
    let is_option = std::env::args_os().any(|arg| arg.as_encoded_bytes().starts_with(b"--url"));
    let source = if is_option { "invalid URL" } else { "the environment variable HERDER_URL has an invalid URL" };
    Err(format!("{source}; allowed: http://HOST:PORT"))
}

/// Refuses an option as unknown, and suggests `--pool-size`.
pub(crate) fn reject_workers_option() -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest_arg("--pool-size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_addresses_are_parsed() {
        assert_eq!(base_url("http://localhost:7878/"), Ok("http://localhost:7878".into()));
        for bad in ["", "localhost:7878", "https://localhost", "http://", "http:///x", "http://a b"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        assert_eq!(address("127.0.0.1:0").map(|address| address.to_string()), Ok("127.0.0.1:0".into()));
        assert!(address("127.0.0.1").is_err() && address("7878").is_err());
    }
}
