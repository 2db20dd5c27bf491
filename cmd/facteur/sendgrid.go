package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/sendgrid"
)

// sendGridKey is one of FACTEUR_SENDGRID_KEYS.
type sendGridKey struct {
	Name    string `json:"name"`
	Key     string `json:"key"`
	Region  string `json:"region"` // "global" or "eu"; empty: global
	URL     string `json:"url"`    // a stand-in for SendGrid, for tests
	Default bool   `json:"default"`
}

// onlyKey is the name of a key that was given without one.
const onlyKey = "main"

// checkSendGrid reads the keys. The error has nothing of them.
func (c *config) checkSendGrid() error {
	doc := strings.TrimSpace(string(c.SendGridKeys))
	if doc == "" {
		return nil
	}
	list := []sendGridKey{{Name: onlyKey, Key: doc}}
	if strings.HasPrefix(doc, "[") {
		dec := json.NewDecoder(bytes.NewReader([]byte(doc)))
		dec.DisallowUnknownFields()
		list = nil
		if dec.Decode(&list) != nil || dec.More() || len(list) == 0 { // the cause may quote what stands there
			return errors.New(`it must be a key, or JSON such as [{"name": "main", "key": "SG...", "region": "eu", "default": true}]`)
		}
	}
	cfg := sendgrid.Config{Keys: make(map[string]sendgrid.Key, len(list))}
	for i, k := range list {
		if k.Name == "" || len(k.Name) > 50 {
			return fmt.Errorf("key %d needs a name of at most 50 characters", i+1)
		}
		if _, twice := cfg.Keys[k.Name]; twice {
			return fmt.Errorf("key %d has the name of another", i+1)
		}
		base := sendgrid.DefaultBaseURL
		switch {
		case k.URL != "":
			base = k.URL
		case k.Region == "eu":
			base = sendgrid.EuropeBaseURL
		case k.Region != "" && k.Region != "global":
			return fmt.Errorf("key %d: its region must be global or eu", i+1)
		}
		if k.Default && cfg.Default != "" {
			return errors.New("only one key can be the default one")
		}
		if k.Default {
			cfg.Default = k.Name
		}
		cfg.Keys[k.Name] = sendgrid.Key{Secret: mail.Secret(k.Key), BaseURL: base}
	}
	if _, err := sendgrid.New(cfg); err != nil {
		return err
	}
	c.sendGrid = cfg
	return nil
}
