//! The address of the server: whether it is free, who listens there, and what a running server says.

use crate::{
    access::Tokens,
    args::ServerAt,
    client::{Client, Health},
    error::{CommandError, Outcome},
    pool_list::PoolList,
};
use herder::config::Server;
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::SystemTime,
};

/// What is known about the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerFacts {
    /// The address or the URL.
    pub(crate) address: String,
    /// Whether `--url` or `HERDER_URL` named it.
    pub(crate) is_named: bool,
    /// Why the address cannot be bound; `None` if it can, and for a named server.
    pub(crate) occupied: Option<String>,
    /// The process that listens there, if it can be found.
    pub(crate) listener: Option<String>,
    /// The answer of a Herder server to `GET /healthz`.
    pub(crate) health: Option<Health>,
    /// How far its `Date` is ahead of the clock of this machine, in milliseconds; within a second.
    pub(crate) ahead_ms: Option<i64>,
    /// Its pools, or why it does not show them.
    pub(crate) pools: Option<Result<PoolList, String>>,
}

impl ServerFacts {
    /// Asks the server that was named, or else the one at the configured address. `access_failed`: whether invalid tokens are a
    /// finding already; the pools are then unknown if the token of the client is one of them.
    pub(super) fn gather(at: &ServerAt, settings: &Server, access_failed: bool) -> Outcome<Self> {
        let mut facts = match &at.url {
            Some(url) => Self { address: url.clone(), is_named: true, ..Self::default() },
            None => Self::of_address(settings.listen),
        };
        let (url, with_token) = asked(at, settings);
        let (token, refused) = match Tokens::of_client(&with_token) {
            Ok(token) => (token, None),
            Err(error) => (None, Some(error.into_text())),
        };
        let client = Client::new(&url, token);
        facts.health = client.health();
        facts.ahead_ms = facts.health.as_ref().and_then(|health| ahead(health.date?));
        let list = || PoolList::ask(&client).map_err(CommandError::into_text);
        let is_known = facts.health.is_some() && !(access_failed && refused.is_some());
        facts.pools = is_known.then(|| refused.map_or_else(list, Err));
        Ok(facts)
    }

    fn of_address(listen: SocketAddr) -> Self {
        let refused = TcpListener::bind(listen).err();
        let is_taken = refused.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        Self {
            address: listen.to_string(),
            occupied: refused.map(|error| error.to_string()),
            listener: is_taken.then(|| listener(listen.port())).flatten(),
            ..Self::default()
        }
    }
}

/// Returns the URL of the server that is asked, and the settings with the token for it. The token of the configuration is that of the
/// configured server, and is sent to no other one.
fn asked(at: &ServerAt, settings: &Server) -> (String, Server) {
    match &at.url {
        Some(url) => (url.clone(), Server::default()),
        None => (format!("http://{}", reachable(settings.listen)), settings.clone()),
    }
}

/// Returns an address by which this machine reaches a server that listens on all addresses.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    listen
}

#[expect(clippy::disallowed_methods, reason = "the clocks are what is examined")]
fn ahead(date: SystemTime) -> Option<i64> {
    let now = SystemTime::now();
    let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).ok();
    // The header has whole seconds: the middle of its second is the best guess.
    let date = date + std::time::Duration::from_millis(500);
    match date.duration_since(now) {
        Ok(ahead) => millis(ahead),
        Err(behind) => millis(behind.duration()).map(|millis| -millis),
    }
}

/// Returns the name and id of the process that listens on a port, if it is one of this user.
fn listener(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let socket = tables.iter().find_map(|table| listening_socket(table, port))?;
    let link = format!("socket:[{socket}]");
    let has_socket = |folder: &Path| {
        let descriptors = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| target.as_os_str() == link.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let process = processes.into_iter().find(|folder| has_socket(folder))?;
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} (process {})", name.trim(), process.file_name()?.to_str()?))
}

/// Finds the inode of the socket that listens on a port in `/proc/net/tcp`.
fn listening_socket(table: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit(':').next()?;
        let fits = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTEN;
        fits.then(|| fields.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_token_is_sent_to_the_configured_server_only() {
        let mut settings = Server::default();
        settings.token = Some("the-admin".parse().unwrap());
        let token_for = |url: Option<&str>| asked(&ServerAt { url: url.map(str::to_owned) }, &settings).1.token;
        assert_eq!((token_for(None), token_for(Some("http://elsewhere:7878"))), (settings.token.clone(), None));
    }

    #[test]
    fn the_socket_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1EC6 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n   \
            1: 0100007F:1EC6 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n";
        assert_eq!(listening_socket(table, 7878), Some("222"));
        assert_eq!(listening_socket(table, 80), None);
    }
}
