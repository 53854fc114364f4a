-- Drops every token: all users are logged out.
DROP TABLE refresh_tokens;
