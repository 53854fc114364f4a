//! What several statements say of a row, once for Diesel's queries and once for the texts in `src/sql`.
//!
//! A text names a fragment as it names a value: `$unspent` stands where `$1` could.

use diesel::prelude::*;

use crate::db::clock::{clock_timestamp, least};
use crate::schema::refresh_tokens;

/// Neither rotated nor revoked.
#[diesel::dsl::auto_type]
pub(crate) fn unspent() -> _ {
    refresh_tokens::rotated_to.is_null().and(refresh_tokens::revoked_at.is_null())
}

/// Its own expiry and its session's end lie ahead. They differ only in rows that other software wrote.
#[diesel::dsl::auto_type]
pub(crate) fn unexpired() -> _ {
    least(refresh_tokens::expires_at, refresh_tokens::session_expires_at).gt(clock_timestamp())
}

/// Valid now: unspent and unexpired.
#[diesel::dsl::auto_type]
pub(crate) fn live() -> _ {
    unspent().and(unexpired())
}

/// The names of the fragments in a text, and what takes their places.
const FRAGMENTS: [(&str, &str); 3] = [
    // In the order of the schema, which is that of RefreshToken.
    (
        "columns",
        "id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at, \
         session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at",
    ),
    ("unspent", "rotated_to IS NULL AND revoked_at IS NULL"),
    ("unexpired", "least(expires_at, session_expires_at) > clock_timestamp()"),
];

/// The fragment that `text` begins with, behind its `$`, and what comes after its name.
pub(crate) fn split_fragment(text: &str) -> Option<(&'static str, &str)> {
    FRAGMENTS.iter().find_map(|(name, fragment)| Some((*fragment, text.strip_prefix(name)?)))
}

/// A text with its fragments in their places, for `sql_query`.
pub(crate) fn spliced(text: &str) -> String {
    FRAGMENTS.iter().fold(text.to_owned(), |text, (name, fragment)| text.replace(&format!("${name}"), fragment))
}

#[cfg(test)]
mod tests {
    use diesel::debug_query;
    use diesel::pg::Pg;

    use super::*;

    #[test]
    fn the_columns_are_those_of_the_schema_in_its_order() {
        let query = debug_query::<Pg, _>(&refresh_tokens::table.select(refresh_tokens::all_columns)).to_string();
        let columns = query.replace("\"refresh_tokens\".", "").replace('"', "");
        assert!(columns.starts_with(&format!("SELECT {} FROM", spliced("$columns"))), "{columns}");
    }

    #[test]
    fn each_predicate_is_the_same_in_both_languages() {
        let written = |query: String| query.replace("\"refresh_tokens\".", "").replace(['"', '(', ')'], "");
        let live = written(debug_query::<Pg, _>(&refresh_tokens::table.filter(live())).to_string());
        let text = spliced("WHERE $unspent AND $unexpired").replace(['(', ')'], "");
        assert!(live.contains(&text), "{live}\n{text}");
    }
}
