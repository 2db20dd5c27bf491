package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// draft: 50,000 messages are prepared in pages of 1,000, checked and released with one call each, beside pages that are accepted to be sent. Nothing leaves: all
// of it is for tomorrow.
func draft(_ context.Context, b *bed) error {
	const pages, page = 50, 1000
	profile, err := b.profile("127.0.0.1:9", connections)
	if err != nil {
		return err
	}
	template, err := b.template()
	if err != nil {
		return err
	}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	made, err := b.post("/v1/send-jobs", map[string]any{
		"draft": true, "purpose": "batch", "sender_profile_id": profile, "template_id": template, "send_at": tomorrow,
	})
	if err != nil {
		return err
	}
	path := "/v1/send-jobs/" + made["id"].(string)
	whole := bytes.ReplaceAll([]byte(`{"send_at":"T",`), []byte("T"), []byte(tomorrow))
	var kept, sent []time.Duration
	for i := range pages {
		body, err := jobBody(profile, template, i*page, page, nil)
		if err != nil {
			return err
		}
		if i < 5 {
			other, err := jobBody(profile, template, (pages+i)*page, page, nil)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := b.postJob(append(slices.Clone(whole), other[1:]...)); err != nil {
				return err
			}
			sent = append(sent, time.Since(began))
		}
		// The same messages, without what a job says for all of them.
		from, to := bytes.Index(body, []byte(`"messages":`)), bytes.Index(body, []byte(`],"purpose"`))
		messages := append(append([]byte("{"), body[from:to]...), "]}"...)
		began := time.Now()
		if _, err := b.exchange(path+"/messages", "application/json", messages); err != nil {
			return err
		}
		kept = append(kept, time.Since(began))
	}
	slices.Sort(kept)
	slices.Sort(sent)
	median, reference := kept[len(kept)/2], sent[len(sent)/2]
	b.row("a draft page of 1,000 messages", seconds(median), "accepted to be sent "+seconds(reference), median.Seconds()/reference.Seconds(), "")
	b.row("the slowest of 50 pages", seconds(kept[len(kept)-1]), "0.5 s", kept[len(kept)-1].Seconds()/0.5, "<= 1")
	began := time.Now()
	if _, err := b.exchange(path+"/check", "application/json", nil); err != nil {
		return err
	}
	took := time.Since(began)
	b.row("50,000 drafts checked", seconds(took), "accepted in pages "+seconds(pages*reference), took.Seconds()/(pages*reference.Seconds()), "")
	began = time.Now()
	if _, err := b.exchange(path+"/release", "application/json", nil); err != nil {
		return err
	}
	took = time.Since(began)
	b.row("50,000 drafts released", seconds(took), "accepted in pages "+seconds(pages*reference), took.Seconds()/(pages*reference.Seconds()), "")
	peak := peakMemory(b.cmd.Process.Pid)
	b.row("peak memory of the service (check and release of 50,000)", fmt.Sprintf("%.0f MiB", peak), "256 MiB", peak/256, "<= 1")
	return nil
}
