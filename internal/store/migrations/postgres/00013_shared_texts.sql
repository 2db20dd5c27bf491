-- +goose Up
-- What the texts of several mails of one submission have in common: U+FDD2 stands where each has a value of its own.
CREATE TABLE shared_texts (
    tenant_id text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL,
    job_id    text COLLATE "C" NOT NULL,
    body_text text NOT NULL,
    body_html text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES send_jobs (tenant_id, id)
);
-- With it, body_text and body_html are the message's values, with U+FDD2 between them. No foreign key: it would be checked for
-- every mail of a batch, and every statement that looks a shared text up names the tenant.
ALTER TABLE message_contents ADD COLUMN shared_text_id text COLLATE "C";

-- +goose Down
-- There is no way back from messages that share a text: this fails when there are any.
INSERT INTO shared_texts (tenant_id, id, job_id, body_text, body_html) SELECT tenant_id, NULL, job_id, '', '' FROM shared_texts;
ALTER TABLE message_contents DROP COLUMN shared_text_id;
DROP TABLE shared_texts;
