//! Tests of the shop with `herder::testing`: with scripted workers, with Python workers, and with a virtual clock.

use super::{Shop, ShopError, configured};
use herder::testing::{Fault, Script, VirtualClock, assert_concurrent, pool, scripted, scripted_on};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;

/// Returns scripted workers that replace the Python workers of the shop.
fn workers() -> Script {
    Script::new()
        .command("add", async |call| {
            let item: String = call.argument("item")?;
            let cart = call.session().ok_or_else(|| Fault::rejected("`add` requires a session"))?;
            Ok(cart.with(|items| {
                let mut all = items.as_array().cloned().unwrap_or_default();
                all.push(item.into());
                *items = all.into();
                items.clone()
            }))
        })
        .command("price", async |call| match call.argument::<String>("item")?.as_str() {
            "tea" => Ok(json!(120)),
            "crash" => Err(Fault::killed(11)),
            item => Err(Fault::rejected(&format!("we have no {item}")).code("unknown_item")),
        })
}

/// With scripted workers: no process is started, and Python is not needed.
#[tokio::test]
async fn customers_get_the_reason_of_a_failure() {
    let pool = scripted("reasons", workers(), |context| configured(context.enhanced())).await;
    let shop = Shop::new(pool.clone());
    assert_eq!(shop.total(&["tea", "tea"]).await.unwrap(), 240);
    assert!(matches!(shop.total(&["tea", "tar"]).await, Err(ShopError::NoSuchItem)));
    let crashed = shop.total(&["crash"]).await.unwrap_err();
    assert!(matches!(&crashed, ShopError::Other(error) if error.to_string().contains("SIGSEGV")), "{crashed:?}");
    drop(shop);
    pool.shutdown_and_check().await;
}

/// With Python workers, one of which is killed.
#[tokio::test]
async fn cart_is_lost_with_its_worker_and_reported_once() {
    let pool = pool("lost", |context| {
        context.file("shop.py", include_str!("../shop.py"));
        configured(context.enhanced())
    })
    .await;
    let shop = Shop::new(pool.clone());
    assert_eq!(shop.add("ann", "tea").await.unwrap(), ["tea"]);
    assert!(matches!(shop.add("ann", "tar").await, Err(ShopError::NoSuchItem)));
    let slot = pool.session("ann").await.unwrap().unwrap().worker.unwrap();
    let worker = pool.base_workers().await.iter().find(|worker| worker.id == slot).unwrap().process();
    assert!(pool.kill(worker).await);
    assert!(matches!(shop.add("ann", "milk").await, Err(ShopError::CartLost)));
    assert_eq!(shop.add("ann", "milk").await.unwrap(), ["milk"]);
    assert_eq!(shop.total(&["tea", "milk"]).await.unwrap(), 210);
    drop(shop);
    pool.shutdown_and_check().await;
}

/// With the virtual clock, half an hour passes at once.
#[tokio::test]
async fn cart_is_kept_for_half_an_hour() {
    let clock = VirtualClock::new();
    let pool = scripted_on(&clock, "kept", workers(), |context| configured(context.enhanced())).await;
    let shop = Shop::new(pool.clone());
    shop.add("ann", "tea").await.unwrap();
    clock.advance(Duration::from_secs(29 * 60)).await;
    assert_eq!(shop.add("ann", "milk").await.unwrap(), ["tea", "milk"]);
    clock.advance(Duration::from_secs(31 * 60)).await;
    assert_eq!(shop.add("ann", "rice").await.unwrap(), ["rice"]);
    drop(shop);
    pool.shutdown_and_check().await;
}

/// The workers answer only after both requests have arrived, so the test passes only if the requests are concurrent.
#[tokio::test]
async fn prices_are_requested_concurrently() {
    let both = Arc::new(Barrier::new(2));
    let script = Script::new().command("price", async move |_| {
        both.wait().await;
        Ok(json!(1))
    });
    let pool = scripted("concurrent", script, |context| configured(context.enhanced())).await;
    let shop = Shop::new(pool.clone());
    assert_concurrent!(shop.quotes(&["tea", "milk"]).await.unwrap());
    drop(shop);
    pool.shutdown_and_check().await;
}
