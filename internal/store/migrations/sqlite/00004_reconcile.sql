-- +goose Up
-- Messages of uncertain outcome that are looked up at their provider. A row is about one hand-over: that of its claim.
CREATE TABLE reconciliations (
    tenant_id       text NOT NULL,
    message_id      text NOT NULL,
    profile_id      text NOT NULL,
    claim           text NOT NULL, -- of the message, as long as it is uncertain for that reason
    profile_version integer NOT NULL, -- that the hand-over was made with; 0: not known
    lost            integer NOT NULL, -- the process disappeared, and may only be cut off
    since           integer NOT NULL, -- by the database's clock
    due_at          integer NOT NULL, -- the next look; while one is under way, the end of its lease
    token           text, -- of the look that is under way
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX reconciliations_due ON reconciliations (due_at);

-- +goose Down
DROP TABLE reconciliations;
