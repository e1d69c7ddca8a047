//! What people watch: the timeline of a pool, and the events of all pools as server-sent events. Holds, for each client, what it
//! has not been sent; the events are the pools'.

use super::{
    connections::{Connection, EndsWithDrain},
    pools::Pools,
    query::Query,
    refusal::Refusal,
};
use actix_web::{
    HttpRequest, HttpResponse, Result,
    body::{BodyStream, BoxBody},
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use futures_util::stream;
use herder_actors::{EventFeed, PoolEvent};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::Write,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The header with which a client resumes after the last event that it has.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The size of a part of the response. The connection gets the next part when it has written this one.
const PART: usize = 32 * 1024;
/// The maximum number of streams of events that are open at once. Each event wakes all of them.
pub(super) const MAX_READERS: usize = 256;
/// After this time without an event, the client gets a comment: proxies close connections without traffic.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of a timeline.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimelineQuery {
    #[serde(default)]
    since: u64,
}

/// `GET /v1/pools/{pool}/timeline`.
pub(super) async fn timeline(
    request: HttpRequest,
    name: web::Path<String>,
    pools: web::Data<Pools>,
) -> Result<HttpResponse> {
    let pool = pools.find(&name)?;
    let TimelineQuery { since } = Query::of(&request, "since=N").parse()?;
    Ok(HttpResponse::Ok().json(pool.timeline(since).await?))
}

/// A place in the events, as clients have it in an `id`: this run of the server, and the number of the event. After a restart
/// the numbers begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId {
    run: u32,
    number: u64,
}

impl EventId {
    fn of(number: u64) -> Self {
        static RUN: OnceLock<u32> = OnceLock::new();
        Self { run: *RUN.get_or_init(run), number }
    }

    fn parse(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('-')?;
        Some(Self { run: u32::from_str_radix(run, 16).ok()?, number: number.parse().ok()? })
    }

    fn text(self) -> String {
        format!("{:08x}-{}", self.run, self.number)
    }
}

/// Returns a number that an earlier run of the server did not have.
#[expect(clippy::disallowed_methods, reason = "the time of the start tells the runs apart")]
fn run() -> u32 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since_1970.as_millis() as u32) ^ std::process::id().rotate_left(16)
}

/// The query of the events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    after: Option<String>,
}

/// Returns the place from which a client reads, if it names one.
fn place(request: &HttpRequest) -> Result<Option<EventId>, Refusal> {
    const ALLOWED: &str = "the `id` of an event";
    let query = Query::of(request, "after=ID");
    let EventsQuery { after } = query.parse()?;
    if let Some(text) = after {
        return EventId::parse(&text).map(Some).ok_or_else(|| query.refuse(format_args!("`after` is not {ALLOWED}")));
    }
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(EventId::parse);
    parsed.map(Some).ok_or_else(|| Refusal::BadHeader {
        name: "Last-Event-ID".into(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        allowed: ALLOWED,
    })
}

/// The streams of events that can still be opened.
#[derive(Clone, Debug)]
pub(super) struct EventReaders(Arc<Semaphore>);

impl Default for EventReaders {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READERS)))
    }
}

impl EventReaders {
    fn begin(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.0.clone().try_acquire_owned().map_err(|_| Refusal::TooManyReaders { limit: MAX_READERS })
    }
}

/// `GET /v1/events`: what is kept of the events of all pools, then each further one. Ends when the server drains.
pub(super) async fn events(
    request: HttpRequest,
    pools: web::Data<Pools>,
    readers: web::Data<EventReaders>,
) -> Result<HttpResponse> {
    let (place, permit) = (place(&request)?, readers.begin()?);
    let mut feeds = Vec::with_capacity(pools.0.len());
    for pool in &pools.0 {
        feeds.extend(pool.events().await.ok()); // a pool that has ended has no more events
    }
    let is_current = place.is_none_or(|place| place.run == EventId::of(0).run);
    let body = EventBody {
        feeds,
        read: place.filter(|_| is_current).map_or(0, |place| place.number),
        unsent: VecDeque::new(),
        text: format!(": the events of all pools: {}\n\n{}", pools.0.len(), if is_current { "" } else { GAP }),
        end: EndsWithDrain::begin(Connection::of(&request)),
        _permit: permit,
    };
    let body =
        stream::unfold(body, |mut body| async { body.next_part().await.map(|part| (Ok::<_, Infallible>(part), body)) });
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(BodyStream::new(Box::pin(body))));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::CONTENT_ENCODING, "identity"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The event that says that some are missing, because the client was too slow or away for too long.
const GAP: &str = "event: gap\ndata: {\"message\":\"some events before the next one are no longer kept\"}\n\n";

/// The rest of a stream of events.
struct EventBody {
    feeds: Vec<EventFeed>,
    /// The number up to which the feeds were read.
    read: u64,
    /// The events that were read and not sent.
    unsent: VecDeque<Arc<PoolEvent>>,
    /// The text of the next part.
    text: String,
    end: EndsWithDrain,
    /// Lets another client read when this stream ends.
    _permit: OwnedSemaphorePermit,
}

impl EventBody {
    /// Returns the next part. The feeds are read only when everything has been sent, so that a slow client holds one batch of
    /// events at most.
    async fn next_part(&mut self) -> Option<Bytes> {
        loop {
            if self.end.is_draining() {
                return None;
            }
            if self.unsent.is_empty() {
                let batch = EventFeed::read(&self.feeds, self.read);
                (self.read, self.unsent) = (batch.next, batch.events.into());
                self.text.push_str(if batch.missed { GAP } else { "" });
            }
            while self.text.len() < PART
                && let Some(event) = self.unsent.pop_front()
            {
                self.add(&event);
            }
            if !self.text.is_empty() {
                return Some(std::mem::take(&mut self.text).into());
            }
            self.wait().await?;
        }
    }

    fn add(&mut self, event: &PoolEvent) {
        // JSON has no line breaks outside of strings, and escapes them in strings.
        let json = serde_json::to_string(event).unwrap_or_default();
        let _ = write!(self.text, "id: {}\ndata: {json}\n\n", EventId::of(event.number).text());
    }

    /// Waits for an event, or some time. Returns `None` if the client has closed its connection or the server drains.
    #[expect(clippy::disallowed_methods, reason = "proxies close connections without traffic")]
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            () = EventFeed::wait(&self.feeds, self.read) => {}
            () = self.end.is_over() => return None,
            () = tokio::time::sleep(KEEP_ALIVE) => self.text.push_str(": no event\n\n"),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::connections::Connections;
    use actix_web::test::TestRequest;
    use std::task::{Context, Poll, Waker};
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn a_client_resumes_after_the_event_that_it_names() {
        let id = EventId::of(7);
        assert_eq!(EventId::parse(&id.text()), Some(id));
        let by_query = TestRequest::get().uri(&format!("/v1/events?after={}", id.text())).to_http_request();
        let by_header = TestRequest::get().insert_header(("Last-Event-ID", id.text())).to_http_request();
        assert_eq!([place(&by_query).unwrap(), place(&by_header).unwrap()], [Some(id); 2]);
        assert_eq!(place(&TestRequest::get().to_http_request()).unwrap(), None);
        for query in ["after=7", "after=-", "after=x-1", "before=1"] {
            let request = TestRequest::get().uri(&format!("/v1/events?{query}")).to_http_request();
            assert_eq!(place(&request).unwrap_err().slug(), "bad-query", "{query}");
        }
        let request = TestRequest::get().insert_header(("Last-Event-ID", "7")).to_http_request();
        assert_eq!(place(&request).unwrap_err().slug(), "bad-header");
    }

    /// Polls a quiet stream of events, and again after `cause`, which must end it.
    async fn ends_after(cause: impl FnOnce(&Connections, &Connection)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = Connections::default();
        let connection = Connection::served(&connections, stream);
        let mut body = EventBody {
            feeds: Vec::new(),
            read: 0,
            unsent: VecDeque::new(),
            text: String::new(),
            end: EndsWithDrain::begin(Some(connection.clone())),
            _permit: EventReaders::default().begin().unwrap(),
        };
        let (mut next, mut context) = (Box::pin(body.next_part()), Context::from_waker(Waker::noop()));
        assert_eq!(next.as_mut().poll(&mut context), Poll::Pending);
        cause(&connections, &connection);
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(None));
    }

    /// R50: a client that closes its connection frees its place at once, not when something would be written to it. A drain does not
    /// wait for the next event either.
    #[tokio::test]
    async fn r50_the_events_of_a_client_end_when_it_is_gone_and_when_the_server_drains() {
        ends_after(|_, connection| connection.mark_client_closed()).await;
        ends_after(|connections, _| connections.drain()).await;
    }
}
