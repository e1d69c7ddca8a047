//! A server on the arbiter of one thread: one task accepts the connections and owns their tasks. Holds the listeners and
//! these tasks, and nothing about requests.
//!
//! `actix-server` is not used. It accepts on a thread of its own and serves on others, so that a pool on the thread of
//! a connection would have to be started by the factory, which runs again when a thread is replaced after a panic; and
//! such a thread stops its arbiter, with the pools on it, as soon as its connections have ended.

use super::dispatch::{ThreadState, serve};
use crate::http::connections::Connections;
use actix_http::{Request, Response, body::MessageBody};
use actix_rt::signal::unix::{Signal, SignalKind, signal};
use actix_service::Service;
use actix_web::Error;
use std::{
    fmt,
    future::{Future, pending, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Sleep, sleep},
};

/// How long the server pauses after the system refused to accept, for example because no descriptor is left. An attempt
/// at once would fail again, and would keep the thread busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How a server was asked to stop. A later request can only make the stop more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Graceful,
    Immediate,
}

/// A server on the current arbiter, created by
/// [`Server::run_on_current_arbiter`](super::Server::run_on_current_arbiter). It serves while it is polled, and is ready
/// when it has stopped. Dropping it closes all connections.
#[must_use = "the server runs only while it is polled"]
pub struct LocalServer {
    stop: Arc<watch::Sender<Option<Stop>>>,
    run: Pin<Box<dyn Future<Output = io::Result<()>>>>,
}

impl LocalServer {
    pub(super) fn new<R>(run: impl FnOnce(StopRequests) -> R) -> Self
    where
        R: Future<Output = io::Result<()>> + 'static,
    {
        let (stop, requests) = watch::channel(None);
        Self { stop: Arc::new(stop), run: Box::pin(run(StopRequests(requests))) }
    }

    /// Returns a handle that stops the server. It can be used on any thread.
    pub fn handle(&self) -> LocalServerHandle {
        LocalServerHandle(self.stop.clone())
    }
}

impl Future for LocalServer {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(self.run.as_mut().poll(context));
        // The future that has returned holds nothing any more; this one must not be polled into it again.
        self.run = Box::pin(pending());
        Poll::Ready(outcome)
    }
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalServer").finish_non_exhaustive()
    }
}

/// Stops a [`LocalServer`].
#[derive(Clone, Debug)]
pub struct LocalServerHandle(Arc<watch::Sender<Option<Stop>>>);

impl LocalServerHandle {
    /// Stops the server. From the call on, no further connection is accepted.
    ///
    /// If `graceful` is set, idle connections are closed, and running requests have the server's
    /// [`shutdown_timeout`](super::Server::shutdown_timeout) to finish. Otherwise all connections are closed.
    ///
    /// The returned future is ready when the server has stopped. Dropping it does not take the stop back.
    pub fn stop(&self, graceful: bool) -> impl Future<Output = ()> + use<> {
        let stop = Some(if graceful { Stop::Graceful } else { Stop::Immediate });
        self.0.send_modify(|asked| *asked = (*asked).max(stop));
        let stopped = self.0.clone();
        // The server holds the only receiver.
        async move { stopped.closed().await }
    }
}

/// The requests to stop that a server has received.
#[derive(Debug)]
pub(super) struct StopRequests(watch::Receiver<Option<Stop>>);

impl StopRequests {
    /// Waits until the server was asked to stop at least this urgently. Cancel safe.
    async fn wait(&mut self, least: Stop) -> Stop {
        match self.0.wait_for(|asked| asked.is_some_and(|asked| asked >= least)).await {
            Ok(asked) => asked.unwrap_or(least),
            // All handles are gone, and the server itself: it is being dropped.
            Err(_) => pending().await,
        }
    }
}

/// The signals that stop a server: SIGTERM gracefully, SIGINT and SIGQUIT immediately. `None` if the application handles
/// signals.
pub(super) struct StopSignals(Option<[(Signal, Stop); 3]>);

impl StopSignals {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn handle() -> io::Result<Self> {
        let kind = |kind, stop| signal(kind).map(|signal| (signal, stop));
        Ok(Self(Some([
            kind(SignalKind::terminate(), Stop::Graceful)?,
            kind(SignalKind::interrupt(), Stop::Immediate)?,
            kind(SignalKind::quit(), Stop::Immediate)?,
        ])))
    }

    /// Waits for a signal. Cancel safe.
    async fn wait(&mut self, least: Stop) -> Stop {
        let Some(signals) = &mut self.0 else { return pending().await };
        poll_fn(|context| {
            let all = signals.iter_mut().filter(|(_, stop)| *stop >= least);
            let mut received = all.filter_map(|(signal, stop)| signal.poll_recv(context).is_ready().then_some(*stop));
            // Takes the first one only: an iterator is lazy. Nothing is lost, as each signal leads to a stop.
            received.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A listener with the application that serves its connections.
pub(super) struct Listener<S, B> {
    pub(super) socket: TcpListener,
    pub(super) state: Rc<ThreadState<S, B>>,
}

/// The running server.
pub(super) struct Acceptor<S, B> {
    pub(super) listeners: Vec<Listener<S, B>>,
    pub(super) max_connections: usize,
    pub(super) shutdown_timeout: Duration,
    pub(super) connections: Connections,
    pub(super) requests: StopRequests,
    pub(super) signals: StopSignals,
}

impl<S, B> Acceptor<S, B>
where
    S: Service<Request> + 'static,
    S::Error: Into<Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    /// Accepts connections until the server is stopped, then waits for the open ones.
    pub(super) async fn run(mut self) {
        // Dropping the set closes all connections, however this future ends.
        let mut open = JoinSet::new();
        let stop = self.accept_into(&mut open).await;
        // Connections that the system has completed, but that were not accepted, are reset now.
        self.listeners.clear();
        if stop == Stop::Graceful {
            self.drain(&mut open).await;
        }
        open.shutdown().await;
    }

    /// Accepts connections, each with a task of its own: a panic in one ends only that connection. Returns when the
    /// server is asked to stop.
    async fn accept_into(&mut self, open: &mut JoinSet<()>) -> Stop {
        let (mut first, mut pause) = (0, None);
        loop {
            let accepts = open.len() < self.max_connections && pause.is_none();
            let accepted = tokio::select! {
                // The stop comes first: after it was requested, nothing more is accepted. Connections that have ended
                // come before new ones, which may need their place.
                biased;
                stop = self.requests.wait(Stop::Graceful) => return stop,
                stop = self.signals.wait(Stop::Graceful) => return stop,
                Some(_) = open.join_next() => continue,
                () = end_of(&mut pause), if pause.is_some() => {
                    pause = None;
                    continue;
                }
                accepted = poll_fn(|context| poll_accept(&self.listeners, first, context)), if accepts => accepted,
            };
            // The listeners take turns, so that none is starved by another one with many clients.
            first = (first + 1) % self.listeners.len().max(1);
            match accepted {
                Ok((stream, state)) => _ = open.spawn_local(serve(state, stream)),
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying again in {} ms", ACCEPT_PAUSE.as_millis());
                    pause = Some(pause_accepting());
                }
            }
        }
    }

    /// Waits until all connections have closed, the time is over, or the server is asked to stop immediately.
    #[expect(clippy::disallowed_methods, reason = "the application sets how long a graceful stop may take")]
    async fn drain(&mut self, open: &mut JoinSet<()>) {
        self.connections.drain();
        let all_closed = async { while open.join_next().await.is_some() {} };
        tokio::select! {
            () = all_closed => {}
            _ = self.requests.wait(Stop::Immediate) => {}
            _ = self.signals.wait(Stop::Immediate) => {}
            () = sleep(self.shutdown_timeout) => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the system gives no event when accepting works again")]
fn pause_accepting() -> Pin<Box<Sleep>> {
    Box::pin(sleep(ACCEPT_PAUSE))
}

async fn end_of(pause: &mut Option<Pin<Box<Sleep>>>) {
    match pause {
        Some(pause) => pause.as_mut().await,
        None => pending().await,
    }
}

type Accepted<S, B> = io::Result<(TcpStream, Rc<ThreadState<S, B>>)>;

/// Accepts a connection of the first listener that has one, starting with number `first`.
fn poll_accept<S, B>(listeners: &[Listener<S, B>], first: usize, context: &mut Context<'_>) -> Poll<Accepted<S, B>> {
    for listener in listeners.iter().cycle().skip(first).take(listeners.len()) {
        if let Poll::Ready(accepted) = listener.socket.poll_accept(context) {
            return Poll::Ready(accepted.map(|(stream, _)| (stream, listener.state.clone())));
        }
    }
    Poll::Pending
}

/// Returns whether the error concerns one client, which closed its connection before it was accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
