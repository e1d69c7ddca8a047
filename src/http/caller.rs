//! [`Caller`]: tells a handler of an application when its client closes the connection.

use super::connections::while_connected;
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use std::{
    convert::Infallible,
    future::{Future, IntoFuture, Ready, pending, ready},
    pin::Pin,
};

/// The client of a request, as an argument of a handler. With [`Call::until_gone`](crate::Call::until_gone) a call ends when the client closes
/// its connection.
///
/// The server has to watch its connections: [`Server`](super::Server) does; for an `HttpServer` call `HttpServer::on_connect` with
/// [`Connections::on_connect`](super::Connections::on_connect). Without that, and over connections that are not plain TCP (TLS, Unix sockets), the
/// client never counts as gone, and the call runs to its end.
///
/// ```no_run
/// use actix_web::{App, HttpServer, get, web};
/// use herder::{Pool, Result, http::{Caller, Connections}};
/// use serde_json::json;
///
/// #[get("/price/{item}")]
/// async fn price(pool: web::Data<Pool>, item: web::Path<String>, caller: Caller) -> Result<web::Json<u64>> {
///     pool.call("price", &json!({ "item": *item })).until_gone(&caller).await.map(web::Json)
/// }
///
/// # async fn example(pool: Pool) -> std::io::Result<()> {
/// let pool = web::Data::new(pool);
/// HttpServer::new(move || App::new().app_data(pool.clone()).service(price))
///     .on_connect(Connections::default().on_connect()) // without this, `caller` never counts as gone
/// # .bind("127.0.0.1:8080")?.run().await }
/// ```
#[derive(Clone, Debug)]
pub struct Caller(HttpRequest);

impl Caller {
    /// Completes when the client has closed its connection, or at least its sending side.
    pub async fn gone(&self) {
        // It is a `Some` only of work that ends.
        while while_connected(&self.0, pending::<Infallible>()).await.is_some() {}
    }
}

impl FromRequest for Caller {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(request.clone())))
    }
}

/// For [`Call::until_gone`](crate::Call::until_gone): [`gone`](Caller::gone).
impl IntoFuture for &Caller {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()>>>;

    fn into_future(self) -> Self::IntoFuture {
        let caller = self.clone();
        Box::pin(async move { caller.gone().await })
    }
}
