//! A client of a running server: plain HTTP, one request at a time. Holds the URL and the token.

use crate::{
    access::Tokens,
    args::ServerAt,
    error::{CommandError, Outcome},
    source::{Overrides, Source},
};
use herder::config::{Server, Token};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    time::{Duration, SystemTime},
};
use ureq::{
    Agent, Body, RequestBuilder,
    http::{HeaderMap, Response},
};

/// The timeout of the request that checks whether a server runs at the configured address.
const PROBE: Duration = Duration::from_secs(2);

/// The characters that are percent-encoded in a segment of a path: all except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of the server at `base`.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<Token>,
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) version: String,
    /// Its time of day, in whole seconds.
    pub(crate) date: Option<SystemTime>,
}

/// Returns the path of the API with these segments below `/v1/pools`, percent-encoded.
pub(crate) fn path(segments: &[&str]) -> String {
    let encoded = segments.iter().map(|segment| format!("/{}", utf8_percent_encode(segment, RESERVED)));
    "/v1/pools".to_owned() + &encoded.collect::<String>()
}

/// Replaces what the server says about the header of a token by where this program takes the token from. If the server does not
/// have the pool, adds which server it is: at the default address, the server of another project may run.
fn for_a_person(mut problem: Value, base: &str) -> Value {
    let (key, text) = match problem["type"].as_str().and_then(|kind| kind.rsplit('/').next()) {
        Some("token-missing") => (
            "detail",
            "a token is required: set HERDER_TOKEN, or HERDER_TOKEN_FILE to the path of a file that contains it".into(),
        ),
        Some("token-wrong") => (
            "detail",
            "the token is wrong: correct HERDER_TOKEN, or the file that HERDER_TOKEN_FILE or the configuration names"
                .into(),
        ),
        Some("unknown-pool") => {
            ("help", format!("these are the pools of the server at {base}; --url selects another server"))
        }
        _ => return problem,
    };
    problem[key] = text.into();
    problem
}

/// Creates a client without a proxy, for which every response is an answer. `limit`: the time of each request.
pub(crate) fn agent(limit: Option<Duration>) -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
    config.timeout_connect(Some(Duration::from_secs(10))).timeout_global(limit).build().into()
}

impl Client {
    /// Creates a client of the server that was named, or else of the server at the configured address.
    pub(crate) fn of(server: &ServerAt) -> Outcome<Self> {
        if let Some(url) = &server.url {
            return Ok(Self::new(url, Tokens::of_client(&Server::default())?));
        }
        let server = Source::of(None, Overrides::default())?.server;
        Ok(Self::new(&format!("http://{}", server.listen), Tokens::of_client(&server)?))
    }

    /// Creates a client of the server at this URL. It sends the token, if there is one.
    pub(crate) fn new(base: &str, token: Option<Token>) -> Self {
        Self { agent: agent(None), base: base.into(), token }
    }

    /// Limits the time of each request, response included.
    pub(crate) fn limited(self, limit: Duration) -> Self {
        Self { agent: agent(Some(limit)), ..self }
    }

    /// Returns the base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns whether a Herder server answers.
    pub(crate) fn answers(&self) -> bool {
        self.health().is_some()
    }

    /// Returns the answer of a Herder server to `GET /healthz`, which needs no token. `None` if none answers.
    pub(crate) fn health(&self) -> Option<Health> {
        let request = self.agent.get(format!("{}/healthz", self.base)).config().timeout_global(Some(PROBE)).build();
        let mut response = request.call().ok()?;
        let date = response.headers().get("date").and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let body: Value = serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()?;
        Some(Health { version: body["herder"].as_str()?.to_owned(), date })
    }

    /// Sends a GET request. Returns the body of a successful response; other responses are errors.
    pub(crate) fn get(&self, path: &str) -> Outcome<String> {
        let request = self.with_token(self.agent.get(format!("{}{path}", self.base)));
        let (_, body) = self.answer(request.call())?;
        String::from_utf8(body).map_err(|_| CommandError::failed("the server's response is not valid UTF-8"))
    }

    /// Sends a POST request with a body in JSON. Returns the body of a successful response; other responses are errors.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, String)], body: &str) -> Outcome<String> {
        let content = ("application/json", body.as_bytes());
        let (_, body) = self.post_bytes(path, headers, content)?;
        String::from_utf8(body).map_err(|_| CommandError::failed("the server's response is not valid UTF-8"))
    }

    /// Sends a PUT request with a body in JSON. Returns the body of a successful response; other responses are errors.
    pub(crate) fn put(&self, path: &str, body: &str) -> Outcome<String> {
        let request = self.with_token(self.agent.put(format!("{}{path}", self.base)).content_type("application/json"));
        let (_, body) = self.answer(request.send(body))?;
        String::from_utf8(body).map_err(|_| CommandError::failed("the server's response is not valid UTF-8"))
    }

    /// Sends a DELETE request. Responses without success are errors.
    pub(crate) fn delete(&self, path: &str) -> Outcome {
        let request = self.with_token(self.agent.delete(format!("{}{path}", self.base)));
        self.answer(request.call()).map(drop)
    }

    /// Sends a POST request. `content` is the media type and the body. Returns the headers and the body of a successful response;
    /// other responses are errors.
    pub(crate) fn post_bytes(
        &self,
        path: &str,
        headers: &[(&str, String)],
        content: (&str, &[u8]),
    ) -> Outcome<(HeaderMap, Vec<u8>)> {
        self.answer(self.send(path, headers, content))
    }

    /// Sends a POST request. Returns the server-sent events of a successful response; other responses are errors.
    pub(crate) fn post_for_events(
        &self,
        path: &str,
        headers: &[(&str, String)],
        content: (&str, &[u8]),
    ) -> Outcome<impl BufRead + use<>> {
        self.events(self.send(path, headers, content))
    }

    /// Sends a GET request. Returns the server-sent events of a successful response, those after the event `last` if the server
    /// still has them; other responses are errors.
    pub(crate) fn get_events(
        &self,
        path: &str,
        last: Option<&str>,
        begin: Duration,
        whole: Duration,
    ) -> Outcome<impl BufRead + use<>> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Accept", "text/event-stream");
        let request = request.config().timeout_recv_response(Some(begin)).timeout_recv_body(Some(whole)).build();
        let mut request = self.with_token(request);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        self.events(request.call())
    }

    /// Returns the server-sent events of a successful response.
    fn events(&self, answer: Result<Response<Body>, ureq::Error>) -> Outcome<impl BufRead + use<>> {
        let response = match answer {
            Ok(response) if response.status().is_success() => response,
            other => {
                self.answer(other)?;
                return Err(self.no_events());
            }
        };
        if response.headers().get("content-type").is_none_or(|kind| kind != "text/event-stream") {
            return Err(self.no_events());
        }
        Ok(BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
    }

    fn no_events(&self) -> CommandError {
        CommandError::failed(format_args!(
            "{} responded with no stream; check that a Herder server of this version runs there",
            self.base
        ))
    }

    /// Adds the token, if there is one.
    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    /// Sends a POST request. `content` is the media type and the body.
    fn send(
        &self,
        path: &str,
        headers: &[(&str, String)],
        (media_type, body): (&str, &[u8]),
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.with_token(self.agent.post(format!("{}{path}", self.base)).content_type(media_type));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        request.send(body)
    }

    /// Sends a GET request. Returns the body of a successful response as JSON; other responses are errors.
    pub(crate) fn json(&self, path: &str) -> Outcome<Value> {
        serde_json::from_str(&self.get(path)?)
            .map_err(|error| CommandError::failed(format_args!("the server's response is malformed: {error}")))
    }

    /// Returns the headers and the body of a successful response.
    fn answer(&self, answer: Result<Response<Body>, ureq::Error>) -> Outcome<(HeaderMap, Vec<u8>)> {
        let unreachable = |error| {
            CommandError::failed(format_args!(
                "cannot reach {}: {error}\n  check that `herder serve` is running there",
                self.base
            ))
        };
        let mut response = answer.map_err(unreachable)?;
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec().map_err(unreachable)?;
        if response.status().is_success() {
            return Ok((response.headers().clone(), body));
        }
        match serde_json::from_slice::<Value>(&body) {
            Ok(problem) if problem["detail"].is_string() => {
                Err(CommandError::Problem(for_a_person(problem, &self.base)))
            }
            _ => Err(CommandError::failed(format_args!(
                "{} responded with {}; check that a Herder server runs there",
                self.base,
                response.status()
            ))),
        }
    }
}
