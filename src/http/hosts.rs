//! The hosts that a request may name in `Host` and `Origin`. Pure.
//!
//! This check prevents DNS rebinding: a web page can make its own name resolve to a loopback address, and then the
//! browser treats a server at that address as the same origin. `Host` still contains the page's name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The value of `Host`: a name, and a port if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    name: Name<'a>,
    port: Option<u16>,
}

/// A host name or address.
#[derive(Clone, Copy, Debug, Eq)]
enum Name<'a> {
    /// An address in canonical form: `::ffff:192.0.2.7` is stored as 192.0.2.7.
    Address(IpAddr),
    /// Any other name. The case of letters does not count.
    Text(&'a str),
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Self {
        let v6 = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = match v6 {
            Some(v6) => v6.parse::<Ipv6Addr>().map(|ip| ip.to_canonical()).ok(),
            None => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        };
        address.map_or(Self::Text(text), Self::Address)
    }

    /// Returns whether this name always refers to the client's own machine: `localhost`, or a loopback address.
    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(ip) => ip.is_loopback(),
            Self::Text(text) => text.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Returns whether a value of `Host` is `127.0.0.1` or `localhost`, with or without a port. These are allowed by every check of
/// a host ([`Host::is_allowed`]). They are recognized without parsing, because most requests to a server on a loopback address
/// have one of them.
pub(super) fn is_common_loopback(host: &[u8]) -> bool {
    let port = [&b"127.0.0.1"[..], b"localhost"].into_iter().find_map(|name| host.strip_prefix(name));
    match port {
        Some([]) => true,
        Some([b':', digits @ ..]) => {
            let is_number = matches!(digits.len(), 1..=5) && digits.iter().all(u8::is_ascii_digit);
            // Texts of the same length are ordered like their numbers.
            is_number && (digits.len() < 5 || digits <= &b"65535"[..])
        }
        _ => false,
    }
}

impl<'a> Host<'a> {
    /// Parses `name`, `name:port`, `[v6]` or `[v6]:port`.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
        let (name, port) = match colon {
            Some(colon) => (&text[..colon], Some(text[colon + 1..].parse().ok()?)),
            None => (text, None),
        };
        let v6_without_brackets = name.contains(':') && !name.starts_with('[');
        (!name.is_empty() && !v6_without_brackets).then(|| Self { name: Name::parse(name), port })
    }

    /// Returns the host of an origin such as `http://localhost:7878`. `None` for `null` and for origins without a host.
    pub(super) fn of_origin(origin: &'a str) -> Option<Self> {
        let (scheme, host) = origin.split_once("://")?;
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let Self { name, port: given } = Self::parse(host)?;
        Some(Self { name, port: given.or(Some(port)) })
    }

    /// Returns whether the host of an origin is this one. A `Host` without a port stands for the default port of the
    /// origin's scheme.
    pub(super) fn is_of(&self, origin: &Host<'_>) -> bool {
        let default = [Some(80), Some(443)].contains(&origin.port);
        self.name == origin.name && (self.port == origin.port || (self.port.is_none() && default))
    }

    /// Returns whether the host is allowed: a loopback name at any port, the address `listen`, the local address of the
    /// connection, or one of `more` (at any port, or at its own if it has one).
    ///
    /// A web page cannot take over a loopback name. The port in `Host` may differ from the server's, for example behind
    /// a container's port mapping or a tunnel. A page on another port is recognized by its `Origin`.
    pub(super) fn is_allowed(&self, listen: SocketAddr, local: Option<SocketAddr>, more: &[String]) -> bool {
        let is = |address: SocketAddr| {
            self.name == Name::Address(address.ip().to_canonical()) && self.port.unwrap_or(80) == address.port()
        };
        let named = |entry: &String| {
            Host::parse(entry)
                .is_some_and(|entry| entry.name == self.name && (entry.port.is_none() || entry.port == self.port))
        };
        self.name.is_loopback() || is(listen) || local.is_some_and(is) || more.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every host that is recognized without parsing is parsed as a loopback name.
        #[test]
        fn common_loopback_hosts_are_loopback_names(host in "(127.0.0.1|localhost|LOCALHOST|127.1)(:[0-9+ ]{0,6})?.?") {
            let parsed = Host::parse(&host).is_some_and(|host| host.name.is_loopback());
            prop_assert!(parsed || !is_common_loopback(host.as_bytes()), "{}", host);
        }
    }

    #[test]
    fn common_loopback_hosts_are_recognized() {
        for host in ["localhost", "127.0.0.1", "localhost:1", "127.0.0.1:7878", "127.0.0.1:65535"] {
            assert!(is_common_loopback(host.as_bytes()), "{host}");
        }
        for host in
            ["", ":80", "127.0.0.1:", "127.0.0.1:65536", "localhost:000080", "localhost.evil.example", "127.0.0.11"]
        {
            assert!(!is_common_loopback(host.as_bytes()), "{host}");
        }
    }

    fn allowed(host: &str, listen: &str, more: &[&str]) -> bool {
        let more: Vec<_> = more.iter().map(|name| (*name).to_owned()).collect();
        Host::parse(host).is_some_and(|host| host.is_allowed(listen.parse().unwrap(), None, &more))
    }

    #[test]
    fn a_server_answers_to_localhost_its_address_and_its_names() {
        let at = "127.0.0.1:7878";
        for host in
            ["localhost:7878", "LOCALHOST", "localhost:7879", "127.0.0.1:7878", "127.9.9.9", "[::1]:1", "[0:0::1]"]
        {
            assert!(allowed(host, at, &[]), "{host}");
        }
        for host in ["evil.example:7878", "localhost.evil.example:7878", "128.0.0.1:7878", "[::2]:7878", "[::1", ""] {
            assert!(!allowed(host, at, &[]), "{host}");
        }
        assert!(allowed("192.0.2.7:7878", "192.0.2.7:7878", &[]) && !allowed("192.0.2.7:7879", "192.0.2.7:7878", &[]));
        assert!(allowed("h.example", at, &["H.example"]) && allowed("h.example:1", at, &["h.example"]));
        assert!(allowed("h.example:8443", at, &["h.example:8443"]) && !allowed("h.example", at, &["h.example:8443"]));
    }

    /// A server that listens on all addresses accepts the local address of the connection: a page cannot take over an
    /// address.
    #[test]
    fn a_wildcard_listener_answers_to_the_address_it_was_reached_at() {
        let (listen, local) = ("0.0.0.0:80".parse().unwrap(), Some("192.0.2.7:80".parse().unwrap()));
        let reached = |host: &str| Host::parse(host).unwrap().is_allowed(listen, local, &[]);
        assert!(reached("192.0.2.7") && reached("192.0.2.7:80") && !reached("192.0.2.8") && !reached("h.example"));
    }

    /// R68: an IPv6 listener sees an IPv4 address as `::ffff:192.0.2.7`, while the client names it as 192.0.2.7.
    #[test]
    fn r68_a_mapped_address_is_the_address_it_maps() {
        let allowed = |host: &str, listen: &str, local: &str, more: &str| {
            let (listen, local) = (listen.parse().unwrap(), local.parse().unwrap());
            Host::parse(host).unwrap().is_allowed(listen, Some(local), &[more.to_owned()])
        };
        let through_ipv6 = |host: &str| allowed(host, "[::]:80", "[::ffff:192.0.2.7]:80", "x");
        assert!(["192.0.2.7", "[::ffff:192.0.2.7]:80", "[::FFFF:c000:207]"].map(through_ipv6) == [true; 3]);
        assert!(!through_ipv6("192.0.2.8") && !through_ipv6("192.0.2.7:81"));
        for listen in ["192.0.2.7:80", "[::ffff:192.0.2.7]:80"] {
            let is_listened_on = |host| allowed(host, listen, "127.0.0.1:80", "x");
            assert!(["192.0.2.7", "[::ffff:192.0.2.7]"].map(is_listened_on) == [true; 2], "{listen}");
        }
        for named in ["192.0.2.9", "[::ffff:192.0.2.9]"] {
            let is_named = |host| allowed(host, "[::]:80", "[::1]:80", named);
            assert!(["192.0.2.9:1", "[::ffff:192.0.2.9]"].map(is_named) == [true; 2], "{named}");
        }
        let origin = Host::of_origin("http://192.0.2.7").unwrap();
        assert!(Host::parse("[::ffff:192.0.2.7]").unwrap().is_of(&origin));
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
