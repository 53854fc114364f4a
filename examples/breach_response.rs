//! A token endpoint: rotation, every refusal, and the breach response to reuse (RFC 9700 §4.14.2).
//!
//! Paste `refresh`. Run it: `cargo run --example breach_response`.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;

use diesel::prelude::*;
use refresh_tokens::{
    Binding, BreachResponse, OnReuse, Redemption, RefreshToken, RefreshTokenRepository, Refusal, RevocationReport,
    Successor, TokenHash,
};
use refresh_tokens_support::{Database, doc};
use uuid::Uuid;

/// What the endpoint answers. Whatever was wrong, the client hears the same (RFC 6749 §5.2).
#[derive(Debug, PartialEq)]
enum Answer {
    Granted(RefreshToken),
    InvalidGrant,
}

/// What the security team hears of.
#[derive(Debug, PartialEq)]
enum Alert {
    Reuse { user_id: Uuid, session_id: Uuid, ended: RevocationReport },
    WrongHolder { user_id: Uuid, session_id: Uuid },
}

/// Handles a refresh request.
///
/// Call it outside of any transaction: rotation and response are then committed when `redeem` returns, so that neither
/// an error later in the request nor a failing `alert` can undo them.
fn refresh(
    conn: &mut PgConnection,
    presented: &TokenHash,
    successor: &Successor,
    binding: Binding,
    mut alert: impl FnMut(Alert),
) -> Result<Answer, refresh_tokens::Error> {
    let mut tokens = RefreshTokenRepository::new(conn);
    // Should this fail, answer 503: whoever sent the request sends it again, and comes here again.
    match tokens.redeem(presented, successor, binding, OnReuse::RevokeSession)? {
        Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. } => Ok(Answer::Granted(token)),
        // Thief or owner: one of them holds the live token, and nobody can tell which. Both have gone.
        Redemption::Reused { token, response: BreachResponse::Revoked(ended), .. } => {
            alert(Alert::Reuse { user_id: token.user_id, session_id: token.session_id, ended });
            Ok(Answer::InvalidGrant)
        }
        Redemption::Refused(Refusal::BindingMismatch(token)) => {
            // Nothing was changed: who presents somebody else's token must not be able to end their session.
            alert(Alert::WrongHolder { user_id: token.user_id, session_id: token.session_id });
            Ok(Answer::InvalidGrant)
        }
        // A copy that comes again and again was worth one alert. Never issued, logged out, or over: everyday life.
        Redemption::Reused { .. } | Redemption::Refused(_) => Ok(Answer::InvalidGrant),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::migrated();
    let conn = &mut database.connect();
    let login = RefreshTokenRepository::new(conn).create(&doc::new_token())?;
    let mine = Binding::user(login.user_id);
    let mut alerts = Vec::new();

    let thief = refresh(conn, &login.token_hash, &doc::successor(), mine, |alert| alerts.push(alert))?;
    let Answer::Granted(stolen) = thief else { return Err("the first to come is served".into()) };
    println!("The thief is first, and is granted generation {}.", stolen.generation);

    let owner = refresh(conn, &login.token_hash, &doc::successor(), mine, |alert| alerts.push(alert))?;
    assert_eq!(owner, Answer::InvalidGrant);
    let [Alert::Reuse { session_id, ended, .. }] = alerts[..] else { return Err("one alert".into()) };
    assert_eq!((session_id, ended.live), (login.session_id, 1));
    println!("The owner comes second, which is reuse: invalid_grant, and an alert: {ended}.");

    let replay = refresh(conn, &login.token_hash, &doc::successor(), mine, |alert| alerts.push(alert))?;
    assert_eq!((replay, alerts.len()), (Answer::InvalidGrant, 1));
    println!("The same token comes once more: invalid_grant, and no second alert.");

    let thief = refresh(conn, &stolen.token_hash, &doc::successor(), mine, |alert| alerts.push(alert))?;
    assert_eq!(thief, Answer::InvalidGrant);
    let left = RefreshTokenRepository::new(conn).get_active_tokens_for_user(login.user_id)?;
    assert_eq!(left, []);
    println!("What the thief was granted is revoked: invalid_grant. The owner logs in again.");

    let again = RefreshTokenRepository::new(conn).create(&doc::new_token())?;
    let other = Binding::user(Uuid::new_v4());
    let mixed_up = refresh(conn, &again.token_hash, &doc::successor(), other, |alert| alerts.push(alert))?;
    assert_eq!((mixed_up, alerts.len()), (Answer::InvalidGrant, 2));
    let granted = refresh(conn, &again.token_hash, &doc::successor(), Binding::user(again.user_id), |_| {})?;
    assert!(matches!(granted, Answer::Granted(_)));
    println!("A token at another user's door: invalid_grant, an alert, and the session goes on.");
    Ok(())
}
