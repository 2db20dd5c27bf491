-- +goose Up
-- What the texts of several mails of one submission have in common: U+FDD2 stands where each has a value of its own.
CREATE TABLE shared_texts (
    tenant_id text NOT NULL,
    id        text NOT NULL,
    job_id    text NOT NULL,
    text      text NOT NULL,
    html      text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES send_jobs (tenant_id, id)
);
-- With it, text and html are the message's values, with U+FDD2 between them. No foreign key: it would be checked for every mail of
-- a batch, and every statement that looks a shared text up names the tenant.
ALTER TABLE message_contents ADD COLUMN shared_text_id text;
-- A program that knows nothing of shared texts, still running or put back, must not take values for texts and send them: its
-- statements fail.
ALTER TABLE message_contents RENAME COLUMN body_text TO text;
ALTER TABLE message_contents RENAME COLUMN body_html TO html;

-- +goose Down
-- There is no way back from messages that share a text: this fails when there are any.
INSERT INTO shared_texts (tenant_id, id, job_id, text, html) SELECT tenant_id, NULL, job_id, '', '' FROM shared_texts;
ALTER TABLE message_contents RENAME COLUMN html TO body_html;
ALTER TABLE message_contents RENAME COLUMN text TO body_text;
ALTER TABLE message_contents DROP COLUMN shared_text_id;
DROP TABLE shared_texts;
