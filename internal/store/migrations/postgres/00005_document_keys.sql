-- +goose Up
-- Which document went to whom, for ever: what guards a client against the same invoice twice. key is mail.DocumentKey. A row is
-- superseded when another mail took its place, because this one came to nothing or because a person said so.
CREATE TABLE document_keys (
    tenant_id  text COLLATE "C" NOT NULL,
    key        bytea NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    superseded boolean NOT NULL DEFAULT false,
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE UNIQUE INDEX document_keys_standing ON document_keys (tenant_id, key) WHERE NOT superseded;

-- +goose Down
DROP TABLE document_keys;
