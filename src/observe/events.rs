//! The span of a call and the event of an outcome.

use std::time::Duration;

use tracing::{Span, debug, error, field, info, info_span, warn};

use crate::observe::Ids;
use crate::observe::outcome::{Class, Seen};

pub(super) fn span(verb: &'static str, ids: Ids) -> Span {
    info_span!(
        target: "refresh_tokens",
        "verb",
        verb,
        otel.name = verb,
        token_id = ids.token.map(field::display),
        session_id = ids.session.map(field::display),
        user_id = ids.user.map(field::display),
        org_id = ids.org.map(field::display),
    )
}

/// A level is part of what the compiler lays down for each place that reports, hence one place for each.
macro_rules! report {
    ($level:ident, $verb:ident, $seen:ident, $took:ident) => {
        $level!(
            target: "refresh_tokens",
            verb = $verb,
            outcome = $seen.outcome,
            class = $seen.class.as_str(),
            token_id = $seen.ids.token.map(field::display),
            session_id = $seen.ids.session.map(field::display),
            user_id = $seen.ids.user.map(field::display),
            org_id = $seen.ids.org.map(field::display),
            seconds = $took.map(|took| took.as_secs_f64()),
            figures = $seen.figures.map(field::display),
            error = $seen.error.map(field::display),
        )
    };
}

pub(super) fn event(verb: &'static str, seen: &Seen<'_>, took: Option<Duration>) {
    match seen.class {
        Class::Unchanged => report!(debug, verb, seen, took),
        Class::Done | Class::Refused => report!(info, verb, seen, took),
        Class::Alarm | Class::Transient => report!(warn, verb, seen, took),
        Class::Failed => report!(error, verb, seen, took),
    }
}
