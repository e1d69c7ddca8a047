//! R43: arguments and results that are buffers, through the public API and with real workers.

use super::steps::answer;
use futures_util::StreamExt;
use herder::{
    Buffer, Error,
    config::{Buffers, StartMethod},
    testing::{Script, TestPool, pool, scripted, with_timeout},
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const APP: &str = "
import array, hashlib, herder, os, signal, time
app = herder.App()

@app.command
def shape(x, y=None):
    return [x.format, list(x.shape), x.tolist(), y]

@app.command
def digest(x):
    return hashlib.sha256(x).hexdigest()

@app.command
def reverse(x: bytes):
    return {'out': x[::-1], 'size': len(x)}

@app.command
def squares(n: int):
    return [array.array('d', [i * i for i in range(n)]), herder.Buffer(b'text', media_type='text/plain')]

@app.command
def fill(n: int):
    return bytes(n)

@app.command
def halves(x):
    yield bytes(x[:len(x) // 2])
    yield bytes(x[len(x) // 2:])

@app.command
def frames(size: int):
    image = bytearray(size)
    for n in range(10):
        image[:] = bytes([n]) * size
        yield {'n': n, 'image': image}

@app.command(idempotent=True)
def die_once(x, file: str):
    if not os.path.exists(file):
        open(file, 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(x).decode()
";

async fn buffers_pool(handler: &'static str) -> TestPool {
    pool("buffers", |context| {
        context.file("app.py", &APP.replace("\ndef ", handler));
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).max_frame(4 << 20).build()
    })
    .await
}

/// The bytes of an argument and of a result are the same on both sides, with their element type, shape and media type.
#[tokio::test]
async fn r43_buffers_pass_in_both_directions() {
    for handler in ["\ndef ", "\nasync def "] {
        let pool = buffers_pool(handler).await;
        let floats: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
        let array = Buffer::array(floats, if cfg!(target_endian = "little") { "<f4" } else { ">f4" }, [2, 2]).unwrap();
        let shape = pool.call::<Value>("shape", &json!({ "y": 1 })).attach("x", array);
        assert_eq!(
            answer(shape.reply()).await.unwrap().decode::<Value>().unwrap(),
            json!(["f", [2, 2], [[1.0, 2.0], [3.0, 4.0]], 1])
        );
        let data: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let reverse = || pool.call::<IgnoredAny>("reverse", &json!({})).attach("x", data.clone());
        let reply = answer(reverse().take_buffers().reply()).await.unwrap();
        assert_eq!(reply.json(), &b"{\"out\":null,\"size\":3000000}"[..]);
        let out = reply.buffer("out").unwrap();
        assert!(out.bytes().iter().eq(data.iter().rev()), "the bytes are reversed");
        let mut copy = vec![0; 3_000_001];
        assert_eq!((out.copy_to(&mut copy), out.copy_to(&mut copy[..10])), (Some(3_000_000), None));
        assert!(copy.iter().take(3_000_000).eq(data.iter().rev()));
        assert!(reply.buffer("size").is_none() && reply.buffer("").is_none());
        let plain = answer(reverse().attach("x", Vec::new()).reply()).await.unwrap_err();
        assert!(matches!(&plain, Error::Malformed { .. }), "attached twice: {plain:?}");
        let squares = pool.call::<IgnoredAny>("squares", &json!({ "n": 3 })).take_buffers();
        let reply = answer(squares.reply()).await.unwrap();
        let [squares, text] = reply.buffers() else { panic!("{reply:?}") };
        assert_eq!((squares.pointer(), squares.shape(), squares.bytes().len()), ("/0", Some(&[3][..]), 24));
        assert!(squares.dtype().is_some_and(|dtype| dtype.ends_with("f8")));
        assert_eq!((text.media_type(), &text.bytes()[..], text.dtype()), (Some("text/plain"), &b"text"[..], None));
        pool.shutdown_and_check().await;
    }
}

/// Large buffers travel in shared memory, however the worker was started, if the pool may have any. Small ones do not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r43_python_workers_use_slabs() {
    const MAPS: &str = "
import herder
app = herder.App()

def slabs():
    with open('/proc/self/maps') as maps:
        return len({line.split()[4] for line in maps if 'herder-slab' in line})

@app.command
def echo(x):
    return [bytes(x), slabs()]
";
    let used = [0, 1, 1, 2]; // the first large result is in its frame
    for (start, max_bytes, expected) in
        [(StartMethod::Spawn, 4 << 20, used), (StartMethod::Template, 4 << 20, used), (StartMethod::Spawn, 0, [0; 4])]
    {
        let pool = pool("mapped", |context| {
            context.file("app.py", MAPS);
            let builder = context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0);
            builder.start(start).buffers(Buffers::new().max_bytes(max_bytes)).build()
        })
        .await;
        let data = vec![7; 100_000];
        for (size, slabs) in [1000, 100_000, 100_000, 100_000].into_iter().zip(expected) {
            let echo = pool.call::<IgnoredAny>("echo", &json!({})).attach("x", data[..size].to_vec()).take_buffers();
            let reply = answer(echo.reply()).await.unwrap();
            let found = reply.decode::<(Value, usize)>().unwrap().1;
            assert_eq!((found, reply.buffers()[0].bytes().len()), (slabs, size), "{start:?}");
            assert!(reply.buffers()[0].bytes() == &data[..size]);
        }
        pool.shutdown_and_check().await;
    }
}

/// A caller that does not ask for buffers gets JSON, and what does not fit into a frame is refused, in either direction.
#[tokio::test]
async fn r43_buffers_have_the_limits_of_a_frame() {
    let pool = buffers_pool("\ndef ").await;
    let plain: Value = pool.call("reverse", &json!({})).attach("x", &b"abc"[..]).await.unwrap();
    assert_eq!(plain, json!({ "out": "Y2Jh", "size": 3 }));
    let large =
        answer(pool.call::<Value>("digest", &json!({})).attach("x", vec![0; 4 << 20]).reply()).await.unwrap_err();
    assert!(matches!(&large, Error::TooLarge { may_have_run: false, .. }), "{large:?}");
    let fill = |n: usize| pool.call::<Value>("fill", &json!({ "n": n })).take_buffers();
    let large = answer(fill(4 << 20).reply()).await.unwrap_err();
    assert!(matches!(&large, Error::TooLarge { may_have_run: true, .. }), "{large:?}");
    let reply = answer(fill(4_000_000).reply()).await.unwrap();
    assert_eq!(reply.buffer("").unwrap().bytes().len(), 4_000_000);
    let unknown =
        answer(pool.call::<Value>("fill", &json!({ "n": 1 })).attach("m", vec![0]).reply()).await.unwrap_err();
    assert!(matches!(&unknown, Error::BadArguments { .. }), "{unknown:?}");
    pool.shutdown_and_check().await;
}

/// The items of a stream have buffers if the caller takes them, whether they are few or more than the window of the stream.
#[tokio::test]
async fn r43_items_of_streams_have_buffers() {
    for handler in ["\ndef ", "\nasync def "] {
        let pool = buffers_pool(handler).await;
        let call = |command: &str| pool.call::<Value>(command, &json!({})).attach("x", &b"abcd"[..]);
        let plain = async |command: &str| {
            with_timeout("a stream", call(command).stream().map(Result::unwrap).collect::<Vec<_>>()).await
        };
        assert_eq!(plain("halves").await, [json!("YWI="), json!("Y2Q=")]);
        assert_eq!(plain("reverse").await, [json!({ "out": "ZGNiYQ==", "size": 4 })]);
        let mut one = call("reverse").take_buffers().stream();
        assert_eq!(with_timeout("an item", one.next()).await.unwrap().unwrap(), json!({ "out": null, "size": 4 }));
        assert_eq!(one.buffer("out").unwrap().bytes(), &b"dcba"[..]);
        let mut frames = pool.call::<Value>("frames", &json!({ "size": 100_000 })).take_buffers().stream();
        for number in 0..10_u8 {
            let item = with_timeout("an item", frames.next()).await.unwrap().unwrap();
            assert_eq!((item, frames.buffers().len()), (json!({ "n": number, "image": null }), 1));
            let image = frames.buffer("image").unwrap();
            assert!(image.bytes().len() == 100_000 && image.bytes().iter().all(|byte| *byte == number));
        }
        assert!(with_timeout("the end", frames.next()).await.is_none());
        pool.shutdown_and_check().await;
    }
}

/// A retry sends the buffers again.
#[tokio::test]
async fn r43_a_retry_has_its_buffers() {
    let pool = buffers_pool("\ndef ").await;
    let call = pool.call::<String>("die_once", &json!({ "file": "died" })).attach("x", &b"again"[..]);
    let reply = answer(call.reply()).await.unwrap();
    assert_eq!((reply.attempts, reply.decode::<String>().unwrap()), (2, "again".into()));
    pool.shutdown_and_check().await;
}

/// A worker whose hello does not state buffers gets none.
#[tokio::test]
async fn r43_a_worker_without_buffers_gets_plain_calls() {
    let script = Script::new().command("echo", async |_| Ok(json!({ "x": 1 })));
    let pool = scripted("without_buffers", script, |context| context.basic().app("app:app").build()).await;
    let echo = || pool.call::<Value>("echo", &json!({ "x": 1 })).take_buffers();
    let reply = answer(echo().reply()).await.unwrap();
    assert_eq!((reply.decode::<Value>().unwrap(), reply.buffers()), (json!({ "x": 1 }), &[][..]));
    let refused = answer(echo().attach("y", vec![1]).reply()).await.unwrap_err();
    assert!(matches!(&refused, Error::Malformed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("accepts no buffers"), "{refused}");
    pool.shutdown_and_check().await;
}
