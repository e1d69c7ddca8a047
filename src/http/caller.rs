//! [`Caller`]: lets a handler of an application wait for its client to close the connection.

use super::connections::while_connected;
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use std::{
    convert::Infallible,
    future::{Future, IntoFuture, Ready, pending, ready},
    pin::Pin,
};

/// The client of a request, as an argument of a handler. With [`Call::cancel_when`](crate::Call::cancel_when), a call is
/// cancelled when the client closes its connection.
///
/// The server must watch its connections. [`Server`](super::Server) does; for an `HttpServer`, call
/// `HttpServer::on_connect` with [`Connections::on_connect`](super::Connections::on_connect). Without that, and on
/// connections that are not plain TCP (TLS, Unix sockets), a disconnect is not detected, and the call runs to its end.
///
/// ```no_run
/// use actix_web::{App, get, web};
/// use herder::{Pool, Result, http::{Caller, Server}};
/// use serde_json::json;
///
/// #[get("/price/{item}")]
/// async fn price(pool: web::Data<Pool>, item: web::Path<String>, caller: Caller) -> Result<web::Json<u64>> {
///     pool.call("price", &json!({ "item": *item })).cancel_when(&caller).await.map(web::Json)
/// }
///
/// # async fn example(pool: Pool) -> std::io::Result<()> {
/// let pool = web::Data::new(pool);
/// let app = move || App::new().app_data(pool.clone()).service(price);
/// Server::new(app).listen(std::net::TcpListener::bind("127.0.0.1:8080")?)?.run()?.await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Caller(HttpRequest);

impl Caller {
    /// Completes when the client has closed its connection, or at least its sending side.
    pub async fn disconnected(&self) {
        // The work never ends, so this returns only with `None`: the client has closed the connection.
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

/// Makes `&Caller` an argument of [`Call::cancel_when`](crate::Call::cancel_when). The future is
/// [`disconnected`](Caller::disconnected).
impl IntoFuture for &Caller {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()>>>;

    fn into_future(self) -> Self::IntoFuture {
        let caller = self.clone();
        Box::pin(async move { caller.disconnected().await })
    }
}
