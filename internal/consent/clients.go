package consent

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// ClientState says what an OAuth client is good for.
type ClientState string

const (
	Current   ClientState = "current"   // new consents use it
	Accepting ClientState = "accepting" // new consents use it when the profile names it
	Retired   ClientState = "retired"   // no new consents; what is connected goes on while Google lets it, and is asked to move
)

// Client is one OAuth client at Google, of a generation (https://developers.google.com/identity/protocols/oauth2/web-server#creatingcred).
type Client struct {
	Name   string // what profiles and reports call it
	ID     string
	Secret mail.Secret
	State  ClientState
	Own    bool // a tenant's own; never set in Config
}

var goodName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,48}[a-z0-9])?$`)

// GoodClientName says whether a client may have the name: up to 50 of a-z, 0-9, dot, hyphen and underscore.
func GoodClientName(name string) bool { return goodName.MatchString(name) }

// CheckClients says everything that is wrong with the service's clients, and no secret.
func CheckClients(clients []Client) error {
	var errs []error
	names, ids, current := map[string]bool{}, map[string]bool{}, 0
	for i, c := range clients {
		at := fmt.Sprintf("OAuth client %d (%s)", i+1, mail.Shown(c.Name))
		if !GoodClientName(c.Name) {
			errs = append(errs, fmt.Errorf("%s: its name must be made of a-z, 0-9, dots and hyphens", at))
		}
		if c.ID == "" || c.Secret == "" {
			errs = append(errs, fmt.Errorf("%s: it needs a client_id and a client_secret", at))
		}
		if names[c.Name] || c.ID != "" && ids[c.ID] {
			errs = append(errs, fmt.Errorf("%s: its name or client_id is there twice", at))
		}
		names[c.Name], ids[c.ID] = true, true
		switch c.State {
		case Current:
			current++
		case Accepting, Retired:
		default:
			errs = append(errs, fmt.Errorf("%s: its state is %q: it must be current, accepting or retired", at, c.State))
		}
	}
	if current > 1 {
		errs = append(errs, fmt.Errorf("%d OAuth clients are current: at most one can be", current))
	}
	return errors.Join(errs...)
}

// Clients gives the clients that a tenant may name: its own first, then the service's.
func (s *Service) Clients(ctx context.Context, tenantID string) ([]Client, error) {
	own, err := s.store.GmailClients(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	all := make([]Client, 0, len(own)+len(s.clients))
	for _, c := range own {
		all = append(all, Client{Name: c.Name, ID: c.ClientID, Secret: c.Secret, State: ClientState(c.State), Own: true})
	}
	return append(all, s.clients...), nil
}

// ServiceClients gives the service's own clients, with their secrets.
func (s *Service) ServiceClients() []Client { return s.clients }

// KnownClient says whether a tenant may name the client.
func (s *Service) KnownClient(ctx context.Context, tenantID, name string) (bool, error) {
	c, err := s.find(ctx, tenantID, func(c Client) bool { return c.Name == name })
	return c != nil, err
}

func (s *Service) find(ctx context.Context, tenantID string, ok func(Client) bool) (*Client, error) {
	all, err := s.Clients(ctx, tenantID)
	if err != nil && !errors.Is(err, store.ErrSealed) {
		return nil, err
	}
	for i := range all {
		if ok(all[i]) {
			return &all[i], nil
		}
	}
	return nil, err
}

// forNew is the client that a new consent of the profile uses: the one that it names, else the tenant's own current one, else
// the service's.
func (s *Service) forNew(ctx context.Context, p *mail.Profile) (*Client, error) {
	if p.Gmail != nil && p.Gmail.Client != "" {
		name := p.Gmail.Client
		c, err := s.find(ctx, p.TenantID, func(c Client) bool { return c.Name == name })
		switch {
		case err != nil:
			return nil, err
		case c == nil:
			return nil, refuse(codeClientUnknown, "client", mail.Shown(name))
		case c.State == Retired:
			return nil, refuse(codeClientRetired, "client", name)
		}
		return c, nil
	}
	c, err := s.find(ctx, p.TenantID, func(c Client) bool { return c.State == Current })
	if err == nil && c == nil {
		err = refuse(codeNotSetUp)
	}
	return c, err
}

// named finds the very client of a grant or a consent; nil when it is not there any more, or is another under the same name.
func (s *Service) named(ctx context.Context, tenantID, name string, own bool, id string) (*Client, error) {
	return s.find(ctx, tenantID, func(c Client) bool { return c.Name == name && c.Own == own && c.ID == id })
}
