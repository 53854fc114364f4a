// @generated automatically by Diesel CLI.

diesel::table! {
    /// OAuth refresh tokens as hashes, never secrets. A row is spent by setting `rotated_to` or `revoked_at`, and never comes back.
    refresh_tokens (id) {
        /// Immutable. Chosen by the caller.
        id -> Uuid,
        /// Immutable. The user the token was issued to; a successor inherits it.
        user_id -> Uuid,
        /// Immutable. Hash of the secret that the client holds.
        token_hash -> Text,
        /// Immutable. The organisation the token acts for; a successor may be given another.
        active_org_id -> Uuid,
        /// Immutable. From this instant the token is no longer valid.
        expires_at -> Timestamptz,
        /// Mutable once, from NULL: when the token was revoked.
        revoked_at -> Nullable<Timestamptz>,
        /// Mutable once, from NULL: id of the successor. Presenting the token afterwards is reuse.
        rotated_to -> Nullable<Uuid>,
        /// Immutable. When the row was written, by the database's clock.
        created_at -> Timestamptz,
        /// Immutable. The session: all tokens that descend from one login. A successor inherits it.
        session_id -> Uuid,
        /// Immutable. The absolute end of the session, which no token of it outlives; NULL for none.
        session_expires_at -> Nullable<Timestamptz>,
        /// Mutable once, with `revoked_at`: why the token was revoked; NULL when other software did it.
        revoked_reason -> Nullable<Text>,
        /// Immutable. How many rotations lie between the login and this token: 0 for the first token of a session.
        generation -> Int4,
        /// Mutable once, with `rotated_to`: when the token was rotated.
        rotated_at -> Nullable<Timestamptz>,
        /// Immutable. When the session began: when the user was authenticated, if that was told, or else when its first token was written. A successor inherits it.
        session_started_at -> Timestamptz,
        /// Mutable once, from NULL: when the breach response to the token's reuse was given.
        reused_at -> Nullable<Timestamptz>,
    }
}
