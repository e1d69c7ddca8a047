//! The table `[server]`: addresses, host names, tokens, error detail, the names of sessions, timeouts, the buffer limit, MCP
//! and the pages for people.

use super::duration;
use super::error::ProblemCollector;
use super::names::unknown;
use super::session_names::{self, SessionCookie, SessionHeader};
use super::token::{TOKEN, Token};
use herder_actors::{ErrorDetail, PoolConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const KEYS: [&str; 20] = [
    "listen",
    "hosts",
    "token",
    "token_file",
    "call_token",
    "call_token_file",
    "metrics_token",
    "metrics_token_file",
    "errors",
    "session_header",
    "session_cookie",
    "keep_alive",
    "head_timeout",
    "body_timeout",
    "write_timeout",
    "buffer_limit",
    "mcp",
    "docs",
    "page",
    "metrics",
];
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const LISTEN: &str = "an IP address with a port, such as \"127.0.0.1:7878\" or \"[::1]:7878\"";
const HOSTS: &str =
    "a list of host names, each with or without a port, such as \"herder.example.org\" or \"herder.example.org:8443\"";
const ERRORS: &str = "\"full\" or \"brief\"";
const KEEP_ALIVES: &str =
    "a duration of at most 24h, such as \"75s\"; \"0s\" closes each connection after its response";
const TIMEOUTS: &str = "a duration greater than 0s and at most 24h, such as \"30s\"";
const BUFFER_LIMITS: &str = "a number of bytes, at least the largest `max_frame` of the pools";
const SWITCHES: &str = "true or false";
const TOKEN_FILE: &str = "the path of a file that contains only the token";

/// The settings of the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// The address that the server listens on. Default: `127.0.0.1:7878`.
    pub listen: SocketAddr,
    /// The host names that the server accepts besides loopback names and its own addresses, as `name` or `name:port`.
    /// Default: none.
    pub hosts: Vec<String>,
    /// The token of administrators, who may use every route. Default: none.
    pub token: Option<Token>,
    /// The file with the token of administrators, instead of `token`. Default: none.
    pub token_file: Option<PathBuf>,
    /// The token of callers, who may only call commands and read their descriptions. Default: none.
    pub call_token: Option<Token>,
    /// The file with the token of callers, instead of `call_token`. Default: none.
    pub call_token_file: Option<PathBuf>,
    /// The token for `/metrics`, whose senders may do nothing else. Default: none.
    pub metrics_token: Option<Token>,
    /// The file with the token for `/metrics`, instead of `metrics_token`. Default: none.
    pub metrics_token_file: Option<PathBuf>,
    /// How much detail of an error callers see. Default: full if the server listens on loopback, otherwise brief.
    pub errors: Option<ErrorDetail>,
    /// The headers from which the session of a call is read. Default: `Herder-Session` only.
    pub session_header: Vec<SessionHeader>,
    /// The cookie from which the session of a call is read. Default: none.
    pub session_cookie: Option<SessionCookie>,
    /// How long an idle connection stays open for its next request. With 0, each connection closes after its response.
    /// Default: 75 s.
    pub keep_alive: Duration,
    /// How long the next 64 KiB of a call's body, or its end, may take to arrive. Default: 30 s.
    pub body_timeout: Duration,
    /// How many bytes of arguments and large results are held at once. Default: 256 MiB or twice the largest
    /// `max_frame`, whichever is larger.
    pub buffer_limit: Option<usize>,
    /// How long the head of a request may take, from its first to its last byte. Default: 5 s.
    pub head_timeout: Duration,
    /// How long a response may wait for a client that does not read. Default: 30 s.
    pub write_timeout: Duration,
    /// Whether the commands are tools of the Model Context Protocol, at `/mcp`. Default: false.
    pub mcp: bool,
    /// Whether `/openapi.json` and `/docs` exist. Default: yes if the server listens on loopback.
    pub docs: Option<bool>,
    /// Whether the live page exists, at `/`. Default: yes if the server listens on loopback.
    pub page: Option<bool>,
    /// Whether `/metrics` exists. Default: true.
    pub metrics: bool,
}

impl Server {
    /// The largest [`keep_alive`](Self::keep_alive).
    pub const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);
    /// The largest [`head_timeout`](Self::head_timeout), [`body_timeout`](Self::body_timeout) and
    /// [`write_timeout`](Self::write_timeout).
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a `buffer_limit` for these pools. The arguments of each call must fit.
    ///
    /// # Errors
    /// Fails if the `max_frame` of a pool is larger. The message names the pool.
    ///
    /// ```
    /// use herder::{PoolConfig, config::Server};
    /// let pool = PoolConfig::basic("models").app("models.py:app").max_frame(4096).build().unwrap();
    /// assert_eq!(Server::check_buffer_limit(4096, [&pool]), Ok(()));
    /// assert!(Server::check_buffer_limit(4095, [&pool]).unwrap_err().ends_with("at least 4096, the `max_frame` of the pool `models`"));
    /// ```
    pub fn check_buffer_limit<'a>(bytes: usize, pools: impl IntoIterator<Item = &'a PoolConfig>) -> Result<(), String> {
        match pools.into_iter().max_by_key(|pool| pool.max_frame()) {
            Some(pool) if pool.max_frame() as usize > bytes => {
                let (frame, name) = (pool.max_frame(), pool.name());
                Err(format!(
                    "{bytes} is out of bounds; allowed: at least {frame}, the `max_frame` of the pool `{name}`"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7878));
        Self {
            listen,
            hosts: Vec::new(),
            token: None,
            token_file: None,
            call_token: None,
            call_token_file: None,
            metrics_token: None,
            metrics_token_file: None,
            errors: None,
            session_header: vec![SessionHeader::default()],
            session_cookie: None,
            keep_alive: KEEP_ALIVE,
            body_timeout: BODY_TIMEOUT,
            buffer_limit: None,
            head_timeout: HEAD_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            mcp: false,
            docs: None,
            page: None,
            metrics: true,
        }
    }
}

/// Reads the table. Problems are reported; an invalid key keeps its default. Relative paths are resolved against `folder`.
pub(super) fn read(report: &mut ProblemCollector<'_>, table: &DeTable<'_>, folder: &Path) -> Server {
    let mut server = Server::default();
    for (name, value) in table {
        let key = name.get_ref().as_ref();
        let refusal = match key {
            "listen" => put(&mut server.listen, listen(value), LISTEN),
            "hosts" => put(&mut server.hosts, hosts(value), HOSTS),
            "token" => put(&mut server.token, token(value), TOKEN),
            "token_file" => put(&mut server.token_file, file(value, folder), TOKEN_FILE),
            "call_token" => put(&mut server.call_token, token(value), TOKEN),
            "call_token_file" => put(&mut server.call_token_file, file(value, folder), TOKEN_FILE),
            "metrics_token" => put(&mut server.metrics_token, token(value), TOKEN),
            "metrics_token_file" => put(&mut server.metrics_token_file, file(value, folder), TOKEN_FILE),
            "errors" => put(&mut server.errors, errors(value), ERRORS),
            "session_header" => put(&mut server.session_header, session_header(value), session_names::HEADERS),
            "session_cookie" => put(&mut server.session_cookie, session_cookie(value), session_names::COOKIE),
            "keep_alive" => put(&mut server.keep_alive, keep_alive(value), KEEP_ALIVES),
            "body_timeout" => put(&mut server.body_timeout, timeout(value), TIMEOUTS),
            "buffer_limit" => put(&mut server.buffer_limit, buffer_limit(value), BUFFER_LIMITS),
            "head_timeout" => put(&mut server.head_timeout, timeout(value), TIMEOUTS),
            "write_timeout" => put(&mut server.write_timeout, timeout(value), TIMEOUTS),
            "mcp" => put(&mut server.mcp, value.get_ref().as_bool(), SWITCHES),
            "docs" => put(&mut server.docs, value.get_ref().as_bool().map(Some), SWITCHES),
            "page" => put(&mut server.page, value.get_ref().as_bool().map(Some), SWITCHES),
            "metrics" => put(&mut server.metrics, value.get_ref().as_bool(), SWITCHES),
            _ => {
                report.add(&name.span(), format!("server.{key}"), unknown(key, &KEYS));
                continue;
            }
        };
        if let Err(allowed) = refusal {
            // An invalid token can still be a secret, for example with a space at its end. Do not quote it.
            let is_secret = matches!(key, "token" | "call_token" | "metrics_token");
            let given = if is_secret { "the value".into() } else { report.quote(&value.span()) };
            report.add(&value.span(), format!("server.{key}"), format!("{given} is invalid; allowed: {allowed}"));
        }
    }
    for key in ["token", "call_token", "metrics_token"] {
        check_one_source(report, table, key);
    }
    server
}

/// Reports a token that is set both in the table and in a file: one of them would be ignored.
fn check_one_source(report: &mut ProblemCollector<'_>, table: &DeTable<'_>, key: &str) {
    let file_key = format!("{key}_file");
    if let Some(value) = table.get(file_key.as_str()).filter(|_| table.contains_key(key)) {
        report.add(&value.span(), format!("server.{file_key}"), format!("`{key}` is set as well; remove one of them"));
    }
}

/// Sets the field, or returns what is allowed.
fn put<T>(field: &mut T, value: Option<T>, allowed: &'static str) -> Result<(), &'static str> {
    *field = value.ok_or(allowed)?;
    Ok(())
}

fn listen(value: &Spanned<DeValue<'_>>) -> Option<SocketAddr> {
    value.get_ref().as_str()?.parse().ok()
}

fn token(value: &Spanned<DeValue<'_>>) -> Option<Option<Token>> {
    value.get_ref().as_str()?.parse().ok().map(Some)
}

fn file(value: &Spanned<DeValue<'_>>, folder: &Path) -> Option<Option<PathBuf>> {
    let path = value.get_ref().as_str().filter(|path| !path.is_empty())?;
    Some(Some(folder.join(path)))
}

fn errors(value: &Spanned<DeValue<'_>>) -> Option<Option<ErrorDetail>> {
    value.get_ref().as_str()?.parse().ok().map(Some)
}

/// Parses a name, or a list of different names.
fn session_header(value: &Spanned<DeValue<'_>>) -> Option<Vec<SessionHeader>> {
    let name = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str()?.parse::<SessionHeader>().ok();
    let names: Vec<_> = match value.get_ref().as_array() {
        Some(items) => items.iter().map(name).collect::<Option<_>>()?,
        None => vec![name(value)?],
    };
    let is_again = |(index, name): (usize, &SessionHeader)| {
        names[..index].iter().any(|earlier| earlier.as_str().eq_ignore_ascii_case(name.as_str()))
    };
    ((1..=8).contains(&names.len()) && !names.iter().enumerate().any(is_again)).then_some(names)
}

fn session_cookie(value: &Spanned<DeValue<'_>>) -> Option<Option<SessionCookie>> {
    value.get_ref().as_str()?.parse().ok().map(Some)
}

fn keep_alive(value: &Spanned<DeValue<'_>>) -> Option<Duration> {
    duration::parse(value.get_ref().as_str()?).ok().filter(|time| *time <= Server::LONGEST_KEEP_ALIVE)
}

fn timeout(value: &Spanned<DeValue<'_>>) -> Option<Duration> {
    let allowed = |time: &Duration| !time.is_zero() && *time <= Server::LONGEST_TIMEOUT;
    duration::parse(value.get_ref().as_str()?).ok().filter(allowed)
}

/// Parses `buffer_limit`. [`Server::check_buffer_limit`] compares it with the pools once they are built.
fn buffer_limit(value: &Spanned<DeValue<'_>>) -> Option<Option<usize>> {
    let number = value.get_ref().as_integer()?;
    usize::from_str_radix(number.as_str(), number.radix()).ok().filter(|bytes| *bytes > 0).map(Some)
}

fn hosts(value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
    let host = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().filter(|text| is_host(text)).map(str::to_owned);
    value.get_ref().as_array()?.iter().map(host).collect()
}

fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'))
}
