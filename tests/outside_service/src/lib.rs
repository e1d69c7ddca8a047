//! A user's service: a shop whose prices and carts are computed by Python workers. Its tests are in `tests.rs`.

use herder::{Error, InvalidConfig, Pool, PoolBuilder, PoolConfig, Reply, Sessions};
use serde_json::json;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The shop.
pub struct Shop {
    pool: Pool,
}

/// What a customer is told.
#[derive(Debug)]
pub enum Trouble {
    /// There is no such item.
    NoSuchItem,
    /// The cart is gone: its worker died. It begins anew with the next item.
    CartLost,
    /// Too much to do: come again after that time.
    Later(Duration),
    /// Something else.
    Broken(Error),
}

/// What the shop wants of its pool, whatever else is set.
pub fn configured(builder: PoolBuilder<herder::Enhanced>) -> Result<PoolConfig, InvalidConfig> {
    let sessions = Sessions::new().timeout(Duration::from_secs(30 * 60)).cleanup_interval(Duration::from_secs(60));
    builder.app("shop.py:app").sessions(sessions).build()
}

impl Shop {
    /// A shop on a pool that was configured so.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Puts an item into a customer's cart; gives what is in it.
    pub async fn add(&self, customer: &str, item: &str) -> Result<Vec<String>, Trouble> {
        Ok(self.pool.call("add", &json!({ "item": item })).session(customer).await?)
    }

    /// The sum of the items' prices.
    pub async fn total(&self, items: &[&str]) -> Result<u64, Trouble> {
        let mut sum = 0;
        for quote in self.quotes(items).await? {
            sum += quote.decode::<u64>()?;
        }
        Ok(sum)
    }

    /// All prices are asked for at once.
    async fn quotes(&self, items: &[&str]) -> Result<Vec<Reply>, Trouble> {
        let price = |item: &&str| self.pool.call::<u64>("price", &json!({ "item": item })).reply();
        let asked: Vec<_> = items.iter().map(price).collect();
        let mut quotes = Vec::new();
        for quote in asked {
            quotes.push(quote.await?);
        }
        Ok(quotes)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejected { code: Some(code), .. } if code == "unknown_item" => Self::NoSuchItem,
            Error::SessionWorkerLost { .. } => Self::CartLost,
            error => match error.retry_after() {
                Some(wait) => Self::Later(wait),
                None => Self::Broken(error),
            },
        }
    }
}
