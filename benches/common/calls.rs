//! The measured call: a small echo, with or without a session.

use futures_util::future::LocalBoxFuture;
use herder::Pool;
use serde_json::{Value, json};
use std::rc::Rc;

/// Returns the arguments of every small call.
pub fn arguments() -> Value {
    json!({ "x": 1, "text": "abcdefghijklmnopqrstuvwxyz012345" })
}

/// Returns a function that makes an echo call on a pool of the demo app.
pub fn echo(pool: &Pool) -> impl Fn() -> LocalBoxFuture<'static, ()> + Clone + 'static {
    let (pool, arguments) = (pool.clone(), Rc::new(arguments()));
    move || {
        let (pool, arguments) = (pool.clone(), arguments.clone());
        Box::pin(async move {
            let _: Value = pool.call("echo", &*arguments).await.expect("an echo");
        })
    }
}
