package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
)

// googleClient is an entry of FACTEUR_GOOGLE_CLIENTS.
type googleClient struct {
	Name         string              `json:"name"`
	ClientID     string              `json:"client_id"`
	ClientSecret string              `json:"client_secret"`
	State        consent.ClientState `json:"state"`
}

// checkGoogle reads the OAuth clients and says what is wrong with all that has to do with Google.
func (c *config) checkGoogle() (errs []error) {
	named := func(name string, err error) {
		for line := range strings.Lines(fmt.Sprint(err)) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s", name, strings.TrimSuffix(line, "\n")))
			}
		}
	}
	clients, err := parseGoogleClients(c.GoogleClients)
	if err == nil {
		err = consent.CheckClients(clients)
	}
	named("FACTEUR_GOOGLE_CLIENTS", err)
	c.googleClients = clients
	switch {
	case c.PublicURL != "":
		named("FACTEUR_PUBLIC_URL", consent.CheckPublicURL(c.PublicURL))
	case len(clients) > 0 && (!isLoopback(c.Listen) || c.Env == production): // in production a proxy stands before it
		errs = append(errs, errors.New("FACTEUR_PUBLIC_URL must say where browsers reach this service: FACTEUR_GOOGLE_CLIENTS is set, and a person comes back from Google"))
	}
	_, err = consent.New(consent.Config{ReturnURLs: c.ReturnURLs})
	named("FACTEUR_RETURN_URLS", err)
	if c.GoogleURL != "" {
		named("FACTEUR_GOOGLE_URL", checkBase(c.GoogleURL))
	}
	return errs
}

func parseGoogleClients(doc mail.Secret) ([]consent.Client, error) {
	if doc == "" {
		return nil, nil
	}
	var list []googleClient
	dec := json.NewDecoder(bytes.NewReader([]byte(doc)))
	dec.DisallowUnknownFields()
	// The cause may quote what stands there.
	if dec.Decode(&list) != nil || dec.More() {
		return nil, errors.New(`it must be JSON such as [{"name": "key-1", "client_id": "...", "client_secret": "...", "state": "current"}]`)
	}
	clients := make([]consent.Client, len(list))
	for i, c := range list {
		clients[i] = consent.Client{Name: c.Name, ID: c.ClientID, Secret: mail.Secret(c.ClientSecret), State: c.State}
	}
	return clients, nil
}

func checkBase(s string) error {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		return errors.New("it must begin with http:// or https://")
	}
	return nil
}

// isLoopback says whether a listen address is reached from this machine only: then a browser on it is where it listens.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// googleEndpoints are where Google's OAuth is; those of a stand-in have Google's paths.
func (c *config) googleEndpoints() consent.Endpoints {
	if c.GoogleURL == "" {
		return consent.Endpoints{}
	}
	base := strings.TrimSuffix(c.GoogleURL, "/")
	return consent.Endpoints{Auth: base + "/o/oauth2/v2/auth", Token: base + "/token", Revoke: base + "/revoke"}
}
