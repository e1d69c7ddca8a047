//! The baseline: a minimal Tokio client and a minimal Python loop on a socket pair, with one call in flight for each
//! worker.

use std::{
    os::{fd::AsRawFd, unix::net::UnixStream as StdStream},
    process::{Child, Command},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot},
};

/// A request, and the sender for its answer.
type Request = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// Worker processes without a pool.
pub struct BaselineClient {
    children: Vec<Child>,
    queue: async_queue::Sender<Request>,
}

impl BaselineClient {
    /// Starts the processes. Must be called within the runtime whose thread serves them.
    pub fn start(workers: usize) -> Self {
        let (queue, requests) = async_queue::unbounded();
        let children = (0..workers).map(|_| start_one(requests.clone())).collect();
        Self { children, queue }
    }

    /// Makes one round trip.
    pub async fn echo(&self, body: &[u8]) -> Vec<u8> {
        let (reply, answer) = oneshot::channel();
        self.queue.send((body.to_vec(), reply));
        answer.await.expect("the baseline worker answers")
    }
}

impl Drop for BaselineClient {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_one(requests: async_queue::Receiver<Request>) -> Child {
    let (ours, theirs) = StdStream::pair().expect("a socket pair");
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).expect("an inheritable descriptor");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/echo/baseline.py");
    let child = Command::new("python3").arg(script).arg(theirs.as_raw_fd().to_string()).spawn().expect("python3");
    ours.set_nonblocking(true).expect("a non-blocking socket");
    let mut stream = UnixStream::from_std(ours).expect("a socket");
    tokio::spawn(async move {
        while let Some((body, reply)) = requests.next().await {
            let mut frame = (body.len() as u32).to_le_bytes().to_vec();
            frame.extend_from_slice(&body);
            stream.write_all(&frame).await.expect("a write");
            let size = stream.read_u32_le().await.expect("a length");
            let mut answer = vec![0; size as usize];
            stream.read_exact(&mut answer).await.expect("an answer");
            let _ = reply.send(answer);
        }
    });
    child
}

/// A queue with several receivers.
mod async_queue {
    use super::mpsc;
    use std::sync::Arc;
    use tokio::sync::Mutex;

    pub struct Sender<T>(mpsc::UnboundedSender<T>);
    pub struct Receiver<T>(Arc<Mutex<mpsc::UnboundedReceiver<T>>>);

    pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Sender(sender), Receiver(Arc::new(Mutex::new(receiver))))
    }

    impl<T> Sender<T> {
        pub fn send(&self, item: T) {
            let _ = self.0.send(item);
        }
    }

    impl<T> Receiver<T> {
        pub async fn next(&self) -> Option<T> {
            self.0.lock().await.recv().await
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }
}
