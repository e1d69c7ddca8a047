//! Which hosts a request may name: names and addresses as they stand in `Host` and `Origin`. Pure.
//!
//! Why: a page can make its own name resolve to a loopback address and then is, for the browser, of the same origin as a server
//! there. `Host` still has the page's name.

use std::net::SocketAddr;

/// A `Host`, split: its name in lower case, and its port if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Parses `name`, `name:port`, `[v6]` or `[v6]:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
        let (name, port) = match colon {
            Some(colon) => (&text[..colon], Some(text[colon + 1..].parse().ok()?)),
            None => (text, None),
        };
        let bare_v6 = name.contains(':') && !name.starts_with('[');
        (!name.is_empty() && !bare_v6).then(|| Self { name: name.to_ascii_lowercase(), port })
    }

    /// The host of an origin such as `http://localhost:7878`; `None` for `null` and everything else that has none.
    pub(super) fn of_origin(origin: &str) -> Option<Self> {
        let (scheme, host) = origin.split_once("://")?;
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let Self { name, port: given } = Self::parse(host)?;
        Some(Self { name, port: given.or(Some(port)) })
    }

    /// Whether an origin's host is this one. A `Host` without a port stands for the port of the origin's scheme.
    pub(super) fn is_of(&self, origin: &Self) -> bool {
        let default = [Some(80), Some(443)].contains(&origin.port);
        self.name == origin.name && (self.port == origin.port || (self.port.is_none() && default))
    }

    /// Whether it is one of these: localhost at the port of `listen`, `listen` itself, the address the connection came in at,
    /// or a name of `more` (at any port, or at its own if it has one).
    pub(super) fn is_allowed(&self, listen: SocketAddr, local: Option<SocketAddr>, more: &[String]) -> bool {
        let at_port = self.port.unwrap_or(80) == listen.port();
        let is = |address: SocketAddr| {
            let ip = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
            self.name == ip && self.port.unwrap_or(80) == address.port()
        };
        let named = |entry: &String| {
            Self::parse(entry)
                .is_some_and(|entry| entry.name == self.name && (entry.port.is_none() || entry.port == self.port))
        };
        (at_port && ["localhost", "127.0.0.1", "[::1]"].contains(&self.name.as_str()))
            || is(listen)
            || local.is_some_and(is)
            || more.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(host: &str, listen: &str, more: &[&str]) -> bool {
        let more: Vec<_> = more.iter().map(|name| (*name).to_owned()).collect();
        Host::parse(host).is_some_and(|host| host.is_allowed(listen.parse().unwrap(), None, &more))
    }

    #[test]
    fn a_server_answers_to_localhost_its_address_and_its_names() {
        let at = "127.0.0.1:7878";
        for host in ["localhost:7878", "LOCALHOST:7878", "127.0.0.1:7878", "[::1]:7878"] {
            assert!(allowed(host, at, &[]), "{host}");
        }
        for host in
            ["localhost", "localhost:7879", "evil.example:7878", "localhost.evil.example:7878", "127.0.0.2:7878", ""]
        {
            assert!(!allowed(host, at, &[]), "{host}");
        }
        assert!(allowed("localhost", "127.0.0.1:80", &[]) && allowed("192.0.2.7:7878", "192.0.2.7:7878", &[]));
        assert!(allowed("h.example", at, &["H.example"]) && allowed("h.example:1", at, &["h.example"]));
        assert!(allowed("h.example:8443", at, &["h.example:8443"]) && !allowed("h.example", at, &["h.example:8443"]));
    }

    /// Listening on every address, it answers to the one the connection came in at: an address is nothing a page can take over.
    #[test]
    fn a_wildcard_listener_answers_to_the_address_it_was_reached_at() {
        let (listen, local) = ("0.0.0.0:80".parse().unwrap(), Some("192.0.2.7:80".parse().unwrap()));
        let reached = |host: &str| Host::parse(host).unwrap().is_allowed(listen, local, &[]);
        assert!(reached("192.0.2.7") && reached("192.0.2.7:80") && !reached("192.0.2.8") && !reached("h.example"));
    }

    #[test]
    fn origins_are_compared_with_the_host() {
        let same = |origin: &str, host: &str| {
            Host::of_origin(origin).is_some_and(|origin| Host::parse(host).unwrap().is_of(&origin))
        };
        assert!(same("http://localhost:7878", "localhost:7878") && same("https://h.example", "h.example"));
        assert!(same("https://h.example", "h.example:443") && same("http://[::1]:80", "[::1]"));
        for (origin, host) in [
            ("http://localhost:7879", "localhost:7878"),
            ("http://evil.example", "localhost:7878"),
            ("null", "localhost"),
            ("file://", "localhost"),
            ("http://h.example:8080", "h.example"),
        ] {
            assert!(!same(origin, host), "{origin} {host}");
        }
    }
}
