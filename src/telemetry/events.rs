//! The span of a call and the event of an outcome.

use std::time::Duration;

use tracing::{Span, debug, error, field, info, info_span, warn};

use crate::telemetry::ids::Ids;
use crate::telemetry::outcome::{Class, Event};

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
    ($level:ident, $verb:ident, $event:ident, $took:ident) => {
        $level!(
            target: "refresh_tokens",
            verb = $verb,
            outcome = $event.outcome,
            class = $event.class.as_str(),
            token_id = $event.ids.token.map(field::display),
            session_id = $event.ids.session.map(field::display),
            user_id = $event.ids.user.map(field::display),
            org_id = $event.ids.org.map(field::display),
            seconds = $took.map(|took| took.as_secs_f64()),
            figures = $event.figures.map(field::display),
            error = $event.error.map(field::display),
        )
    };
}

pub(super) fn tell(verb: &'static str, event: &Event<'_>, took: Option<Duration>) {
    match event.class {
        Class::Unchanged => report!(debug, verb, event, took),
        Class::Done | Class::Refused => report!(info, verb, event, took),
        Class::Alarm | Class::Transient => report!(warn, verb, event, took),
        Class::Failed => report!(error, verb, event, took),
    }
}
