DROP TRIGGER refresh_tokens_adopt_successor ON refresh_tokens;
DROP FUNCTION refresh_tokens_adopt_successor();
