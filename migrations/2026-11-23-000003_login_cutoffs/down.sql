DROP TABLE refresh_token_cutoffs;
DROP TABLE refresh_token_gates;
