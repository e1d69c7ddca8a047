//! A minimal HTTP/1.1 client with one request per connection.

use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

/// An HTTP request.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The body as JSON; null if it is not JSON.
    pub(crate) json: Value,
}

pub(crate) fn get(path: &str) -> Request {
    Request::new("GET", path, "")
}

pub(crate) fn post(path: &str, body: &str) -> Request {
    Request::new("POST", path, body)
}

impl Request {
    pub(crate) fn new(method: &str, path: &str, body: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: body.into() }
    }

    /// Adds a header. `Host` and `Content-Length` replace the automatic ones; an empty value omits them.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns the text of the request.
    pub(crate) fn text(&self, address: SocketAddr) -> String {
        let given = |name: &str| self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        if !given("Host") {
            text += &format!("Host: {address}\r\n");
        }
        if !given("Content-Length") && !given("Transfer-Encoding") && !self.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        let sent = |(name, value): &&(String, String)| {
            !(value.is_empty() && ["Host", "Content-Length"].contains(&name.as_str()))
        };
        for (name, value) in self.headers.iter().filter(sent) {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n" + &self.body
    }

    /// Returns the text of the request for a connection that stays open.
    pub(crate) fn kept_open(&self, address: SocketAddr) -> String {
        self.text(address).replace("Connection: close\r\n", "")
    }

    /// Sends the request, and returns the connection.
    pub(crate) fn open(&self, address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(self.text(address).as_bytes()).unwrap();
        stream
    }

    /// Sends the request, and reads the response.
    pub(crate) fn send(&self, address: SocketAddr) -> Reply {
        Reply::read(self.open(address))
    }
}

impl Reply {
    /// Reads a response until the connection closes.
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A server that refuses a body without reading it may reset the connection after its response.
        let read = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { panic!("no answer: {read:?} {text:?}") };
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.filter_map(header).collect();
        _ = stream.shutdown(Shutdown::Both);
        Self { status, headers, body: body.into(), json: serde_json::from_str(body).unwrap_or_default() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Checks that the response is a problem document with this status and slug, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, slug: &str) -> &Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["type"], format!("https://herder.invalid/errors/{slug}"), "{self:?}");
        assert_eq!(self.json["status"], status);
        for key in ["title", "detail", "category", "severity", "strategy"] {
            assert!(self.json[key].is_string(), "{key}: {self:?}");
        }
        assert!(self.json["retryable"].is_boolean() && self.json["may_have_run"].is_boolean(), "{self:?}");
        &self.json
    }

    /// Returns the result of a successful call.
    #[track_caller]
    pub(crate) fn result(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        &self.json["result"]
    }
}
