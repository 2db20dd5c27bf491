-- +goose Up
-- Messages of uncertain outcome that are looked up at their provider. A row is about one hand-over: that of its claim.
CREATE TABLE reconciliations (
    tenant_id       text COLLATE "C" NOT NULL,
    message_id      text COLLATE "C" NOT NULL,
    profile_id      text COLLATE "C" NOT NULL,
    claim           text COLLATE "C" NOT NULL, -- of the message, as long as it is uncertain for that reason
    profile_version bigint NOT NULL, -- that the hand-over was made with; 0: not known
    lost            boolean NOT NULL, -- the process disappeared, and may only be cut off
    since           bigint NOT NULL, -- by the database's clock
    due_at          bigint NOT NULL, -- the next look; while one is under way, the end of its lease
    token           text COLLATE "C", -- of the look that is under way
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id)
);
CREATE INDEX reconciliations_due ON reconciliations (due_at);

-- +goose Down
DROP TABLE reconciliations;
