//! The limits on bodies: from the options of `serve`, or else from the file.

use crate::{
    args::Serve,
    error::{CommandError, Outcome},
    source::Source,
};
use herder::{config::Server, http::Api};

/// Refuses a `--buffer-limit` that is smaller than the largest `max_frame`. `server.buffer_limit` was checked with the
/// file.
pub(super) fn check(options: &Serve, source: &Source) -> Outcome {
    let Some(bytes) = options.buffer_limit else { return Ok(()) };
    Server::check_buffer_limit(limit(bytes), &source.pools)
        .map_err(|message| CommandError::usage(format_args!("--buffer-limit: {message}")))
}

/// Applies the limits to the `Api`.
pub(super) fn set(api: Api, options: &Serve, settings: &Server) -> Api {
    let api = api.body_timeout(options.body_timeout.unwrap_or(settings.body_timeout));
    match options.buffer_limit.map(limit).or(settings.buffer_limit) {
        Some(bytes) => api.buffer_limit(bytes),
        None => api,
    }
}

fn limit(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
