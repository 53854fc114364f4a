//! The one place that reads r2d2's errors: a connection could not be opened, or not be had.

use std::time::Duration;

use diesel::r2d2::PoolError;

use crate::error::Error;
use crate::error::recognized::PREPARED_BY_ANOTHER;

const NOT_IN_TIME: &str = "no connection could be opened in time";

impl Error {
    /// Of a pool that could not be opened. Without a reason, the time was over before the first attempt was.
    pub(crate) fn of_open(error: &PoolError) -> Self {
        let message = error.to_string();
        let otherwise = if message.contains(": ") { "the database URL cannot be used" } else { NOT_IN_TIME };
        connect_error(&message, otherwise)
    }

    /// Of a connection that could not be had from a pool which has so many now. r2d2 reports a wait that timed out; if
    /// opening a connection failed meanwhile, its text goes on with why.
    pub(crate) fn of_checkout(error: &PoolError, connections: u32, waited: Duration) -> Self {
        let message = error.to_string();
        match message.split_once(": ") {
            Some(_) => connect_error(&message, NOT_IN_TIME),
            // Another caller was told why.
            None if connections == 0 => Self::Unreachable { message: NOT_IN_TIME.to_owned() },
            None => Self::PoolExhausted { waited },
        }
    }
}

/// Of a URL that it cannot parse, libpq quotes the part that it stumbled over, which may be the password: what is not
/// known to be of an attempt to connect is not told, but what is the case otherwise.
fn connect_error(message: &str, otherwise: &str) -> Error {
    if message.contains(PREPARED_BY_ANOTHER) {
        return Error::TransactionPooler;
    }
    let attempts = ["connection to server", "could not connect", "could not translate host name", "FATAL"];
    let said = attempts.iter().filter_map(|attempt| message.find(attempt)).min();
    let message = said.map_or(otherwise, |start| &message[start..]);
    Error::Unreachable { message: message.to_owned() }
}
