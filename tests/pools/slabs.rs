//! R43, R77: buffers in memory that host and worker share, with a worker that reports what it gets or breaks the rules.

use super::steps::answer;
use herder::{
    Buffer, Error, Reply,
    config::{Buffers, Restart},
    testing::{TestPool, pool},
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::time::Duration;

/// The commands of `slabs.py`.
const COMMANDS: [&str; 11] =
    ["echo", "range", "unknown", "purpose", "unsealed", "punched", "reuse", "twice", "drops", "rewrite", "never_free"];
const LARGE: usize = 100_000;
const MIB: usize = 1 << 20;

async fn slabs_pool(max_bytes: usize) -> TestPool {
    pool("slabs", |context| {
        context.file("worker.py", include_str!("slabs.py"));
        let builder = context.basic().command(["python3", "-S", "worker.py"].into_iter().chain(COMMANDS));
        let restart = Restart::new().backoff(Duration::from_millis(1)).max_backoff(Duration::from_millis(1));
        let builder = builder.cwd(context.dir()).pool_size(1).overflow(0).restart(restart);
        builder.max_frame(8 * MIB).buffers(Buffers::new().max_bytes(max_bytes)).build()
    })
    .await
}

/// A reply with what the worker has received until then: number, size and purpose of each slab.
struct Found {
    reply: Reply,
    slabs: Vec<(u64, usize, u64)>,
    dropped: Vec<u64>,
}

impl Found {
    fn buffer(&self) -> &Buffer {
        &self.reply.buffers()[0]
    }

    /// Returns the number of bytes of the slabs that the worker had not unmapped.
    fn mapped(&self) -> usize {
        self.slabs.iter().filter(|(id, ..)| !self.dropped.contains(id)).map(|(_, size, _)| size).sum()
    }
}

async fn call(pool: &TestPool, command: &str, data: impl Into<Buffer>) -> Result<Found, Error> {
    let call = pool.call::<IgnoredAny>(command, &json!({})).attach("x", data).take_buffers();
    let reply = answer(call.reply()).await?;
    let (_, slabs, dropped) = reply.decode::<(Value, _, _)>()?;
    Ok(Found { reply, slabs, dropped })
}

fn data(size: usize) -> Vec<u8> {
    (0..size).map(|number| (number % 251) as u8).collect()
}

/// Large buffers travel in slabs, which are used again; small ones, and those that do not fit, travel in the frames. The results are
/// the same.
#[tokio::test]
async fn r43_large_buffers_travel_in_slabs_that_are_used_again() {
    let pool = slabs_pool(4 * MIB).await;
    for _ in 0..5 {
        let found = call(&pool, "echo", data(LARGE)).await.unwrap();
        assert_eq!(found.buffer().bytes(), &data(LARGE));
    }
    // The first result was in its frame. A slab for results followed.
    let found = call(&pool, "echo", data(70_000)).await.unwrap();
    assert_eq!(found.slabs, [(1, MIB, 0), (2, MIB, 1)]);
    let mut target = vec![0; 70_000];
    assert_eq!((found.buffer().length(), found.buffer().copy_to(&mut target)), (70_000, Some(70_000)));
    assert!(target == data(70_000) && found.buffer().copy_to(&mut target[1..]).is_none());
    // The slab for results belongs to the host while the reply exists.
    for size in [10, LARGE, 5 * MIB, LARGE] {
        let next = call(&pool, "echo", data(size)).await.unwrap();
        assert_eq!(next.buffer().bytes(), &data(size), "{size}");
        assert!(next.mapped() <= 4 * MIB, "{:?}", next.slabs);
    }
    let first = found.buffer().clone();
    drop(found);
    assert_eq!(first.bytes(), &data(70_000), "a clone keeps the memory");
    pool.shutdown_and_check().await;
}

/// R43: a caller that keeps its replies gets other slabs, up to the cap, and then frames. The cap counts what the callers keep.
#[tokio::test]
async fn r43_the_cap_holds_while_replies_are_kept() {
    let pool = slabs_pool(4 * MIB).await;
    let mut kept = Vec::new();
    for _ in 0..12 {
        kept.push(call(&pool, "echo", data(LARGE)).await.unwrap());
    }
    // On a slow machine, the one for arguments may have been dropped to make room.
    assert!((3 * MIB..=4 * MIB).contains(&kept[11].mapped()), "{:?}", kept[11].slabs);
    assert!(kept.iter().all(|found| found.buffer().bytes() == &data(LARGE)[..]));
    pool.shutdown_and_check().await;
}

/// R77: bytes that the worker changes for ever are copied once: all readers see the same.
#[tokio::test]
async fn r77_a_result_does_not_change_when_its_worker_rewrites_it() {
    let pool = slabs_pool(4 * MIB).await;
    call(&pool, "rewrite", data(LARGE)).await.unwrap(); // in its frame
    let found = call(&pool, "rewrite", data(LARGE)).await.unwrap();
    let mut unstable = [vec![0; LARGE], vec![0; LARGE]];
    for target in &mut unstable {
        assert_eq!(found.buffer().copy_to(target), Some(LARGE));
    }
    let clone = found.buffer().clone();
    let first = found.buffer().bytes().to_vec();
    let mut copy = vec![0; LARGE];
    assert_eq!(found.buffer().copy_to(&mut copy), Some(LARGE));
    assert!(first == copy && first == *clone.bytes() && first == *found.buffer().bytes());
    drop(found);
    pool.shutdown_and_check().await;
}

/// R43: a worker that never frees its arguments gets slabs up to the cap, and then frames.
#[tokio::test]
async fn r43_a_worker_that_never_frees_gets_no_more_than_the_cap() {
    let pool = slabs_pool(3 * MIB).await;
    let mut last = call(&pool, "never_free", data(LARGE)).await.unwrap();
    for _ in 0..6 {
        last = call(&pool, "never_free", data(LARGE)).await.unwrap();
        assert_eq!(last.buffer().bytes(), &data(LARGE));
    }
    assert!((2 * MIB..=3 * MIB).contains(&last.mapped()), "{:?}", last.slabs);
    pool.shutdown_and_check().await;
}

/// R43: a worker that breaks a rule is killed under its name, and the pool goes on with all its memory.
#[tokio::test]
async fn r43_a_worker_that_breaks_the_rules_of_slabs_is_killed() {
    let pool = slabs_pool(3 * MIB).await;
    for (command, reason) in [
        ("range", "bytes from byte 1048560 of slab 2, which has 1048576"),
        ("unknown", "named slab 99, which it does not have for this purpose"),
        ("purpose", "named slab 1, which it does not have for this purpose"),
        ("unsealed", "sent a result in slab 2: the worker has not sealed it"),
        ("punched", "sent a result in slab 2: the worker has freed pages of it"),
        ("reuse", "named slab 2, which belongs to the host until it is freed"),
        ("twice", "freed slab 1, which it was not using"),
        ("drops", "dropped slab 1, although the host has not asked for it"),
    ] {
        let (mut kept, mut calls) = (Vec::new(), 0);
        let error = loop {
            match call(&pool, command, data(LARGE)).await {
                Ok(found) => kept.push(found),
                Err(error) => break error,
            }
            calls += 1;
            assert!(calls < 4, "{command}: the worker was not killed");
        };
        let text = error.to_string();
        assert!(matches!(error, Error::WorkerLost { .. }), "{command}: {error:?}");
        assert!(text.contains("protocol error (bad_slab)") && text.contains(reason), "{command}: {text}");
        drop(kept);
        pool.wait_healthy("echo").await;
        assert_eq!(call(&pool, "echo", data(LARGE)).await.unwrap().slabs, [(1, MIB, 0)], "{command}");
    }
    pool.shutdown_and_check().await;
}
