//! An application with Herder: a shop whose prices and carts are computed by Python workers. `tests.rs` tests it.

use herder::{
    Error, Pool, PoolConfig, Reply,
    config::{Enhanced, InvalidConfig, PoolBuilder, Sessions},
};
use serde_json::json;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The shop.
pub struct Shop {
    pool: Pool,
}

/// The reason why the shop cannot serve a customer.
#[derive(Debug)]
pub enum ShopError {
    /// The shop does not have this item.
    NoSuchItem,
    /// The cart is lost because its worker died. The next item starts a new cart.
    CartLost,
    /// The shop is overloaded. Try again after this time.
    RetryAfter(Duration),
    /// Any other error.
    Other(Error),
}

/// Adds the shop's settings to a pool configuration.
pub fn configured(builder: PoolBuilder<Enhanced>) -> Result<PoolConfig, InvalidConfig> {
    let sessions = Sessions::new().timeout(Duration::from_secs(30 * 60)).cleanup_interval(Duration::from_secs(60));
    builder.app("shop.py:app").sessions(sessions).build()
}

impl Shop {
    /// Creates a shop that uses this pool, which must be configured by [`configured`].
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Adds an item to a customer's cart and returns all items in it.
    pub async fn add(&self, customer: &str, item: &str) -> Result<Vec<String>, ShopError> {
        Ok(self.pool.call("add", &json!({ "item": item })).session(customer).await?)
    }

    /// Returns the sum of the prices of the items.
    pub async fn total(&self, items: &[&str]) -> Result<u64, ShopError> {
        let mut sum = 0;
        for quote in self.quotes(items).await? {
            sum += quote.decode::<u64>()?;
        }
        Ok(sum)
    }

    /// Requests all prices at the same time and returns the replies in the order of the items.
    async fn quotes(&self, items: &[&str]) -> Result<Vec<Reply>, ShopError> {
        let price = |item: &&str| self.pool.call::<u64>("price", &json!({ "item": item })).reply();
        let pending: Vec<_> = items.iter().map(price).collect();
        let mut quotes = Vec::new();
        for quote in pending {
            quotes.push(quote.await?);
        }
        Ok(quotes)
    }
}

impl From<Error> for ShopError {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejected { code: Some(code), .. } if code == "unknown_item" => Self::NoSuchItem,
            Error::SessionWorkerLost { .. } => Self::CartLost,
            error => match error.retry_after() {
                Some(wait) => Self::RetryAfter(wait),
                None => Self::Other(error),
            },
        }
    }
}
