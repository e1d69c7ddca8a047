//! Pipelined requests: each is answered as if it were the only one (R68).

use crate::support::{Request, Server, get, wait_until};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

/// Sends these requests at once on one connection, and reads until the connection closes.
fn exchange(server: &Server, requests: &[String]) -> String {
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(requests.concat().as_bytes()).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

fn call(server: &Server, number: usize) -> Request {
    server.request("one/echo", &format!(r#"{{"number":{number}}}"#), &[])
}

/// Returns the numbers in the responses to these calls.
fn numbers(text: &str) -> Vec<usize> {
    let number = |part: &str| part.split('}').next().unwrap().parse().unwrap();
    text.split(r#"{"result":{"number":"#).skip(1).map(number).collect()
}

/// R68: a POST is answered with a body although a HEAD follows.
#[test]
fn r68_a_call_is_answered_in_full_before_a_head_request() {
    let server = Server::with(ONE);
    let head = Request::new("HEAD", "/healthz", "").text(server.address);
    let text = exchange(&server, &[call(&server, 1).kept_open(server.address), head]);
    assert_eq!(numbers(&text), [1], "{text}");
    let (_, last) = text.rsplit_once("HTTP/1.1 200 OK\r\n").unwrap();
    assert!(last.contains("connection: close") && last.ends_with("\r\n\r\n"), "{text}");
    assert_eq!(text.matches("connection: close").count(), 1, "{text}");
}

/// R68: a response has the HTTP version of its own request.
#[test]
fn r68_a_request_in_http_1_0_does_not_change_the_previous_response() {
    let server = Server::with(ONE);
    let old = get("/healthz").text(server.address).replace(" HTTP/1.1\r\n", " HTTP/1.0\r\n");
    let text = exchange(&server, &[call(&server, 1).kept_open(server.address), old]);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!((numbers(&text), text.matches("HTTP/1.0 200 OK\r\n").count()), (vec![1], 1), "{text}");
}

/// R68: after a request with `Connection: close`, no further request of the connection is answered.
#[test]
fn r68_a_request_that_closes_its_connection_is_the_last() {
    let server = Server::with(ONE);
    let [first, last] = [call(&server, 1).kept_open(server.address), call(&server, 2).text(server.address)];
    let ignored = call(&server, 3).text(server.address);
    let text = exchange(&server, &[first, last, ignored.clone(), ignored]);
    assert_eq!(numbers(&text), [1, 2], "{text}");
    assert_eq!(text.matches("connection: close").count(), 1, "{text}");
    assert_eq!(server.get("/v1/pools/one").json["counters"]["submitted"], 2);
}

/// Each call is submitted when the previous one has been answered, and all are answered in order.
#[test]
fn r68_pipelined_calls_are_answered_in_their_order() {
    let server = Server::with(ONE);
    let mut requests: Vec<_> = (0..500).map(|number| call(&server, number).kept_open(server.address)).collect();
    requests.push(call(&server, 500).text(server.address));
    assert_eq!(numbers(&exchange(&server, &requests)), (0..=500).collect::<Vec<_>>());
}

/// R68: a client sends a thousand pipelined calls and disconnects during the first one: only that one was submitted.
#[test]
fn r68_calls_after_a_disconnect_are_not_submitted() {
    let server = Server::with(ONE);
    let wait = server.request("one/wait", r#"{"file":"never"}"#, &[]).kept_open(server.address);
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(wait.repeat(1000).as_bytes()).unwrap();
    server.until_queue("one", 0, 1);
    drop(client);
    let counters = || server.get("/v1/pools/one").json["counters"].clone();
    wait_until("the call counts as abandoned", || counters()["abandoned"] == 1);
    assert_eq!(server.call("one/echo", "{}", &[]).result().to_string(), "{}");
    assert_eq!(counters()["submitted"], 2, "{}", counters());
}
