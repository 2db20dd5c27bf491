package consent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Grade says how bad a finding is.
type Grade string

const (
	Fine    Grade = "ok"
	Do      Grade = "do"   // what an operator has to do at Google, once
	Warning Grade = "warn" // it works, and will not for long or not for all
	Bad     Grade = "bad"  // it does not work
)

// Finding is one thing that an operator should know, in English.
type Finding struct {
	Grade Grade
	Text  string
}

// Examination says how the set-up is looked at.
type Examination struct {
	Offline    bool // ask neither Google nor the public URL
	Production bool
}

type findings []Finding

func (f *findings) add(g Grade, format string, args ...any) {
	*f = append(*f, Finding{g, fmt.Sprintf(format, args...)})
}

// Examine looks at the whole set-up: the clients, the public URL and every grant. It changes nothing. No finding holds a secret.
func (s *Service) Examine(ctx context.Context, e Examination) ([]Finding, error) {
	var f findings
	if len(s.clients) == 0 {
		f.add(Warning, "FACTEUR_GOOGLE_CLIENTS is not set: only firms that bring an OAuth client of their own can connect a mailbox")
	}
	s.examinePublic(ctx, &f, e)
	s.examineClients(ctx, &f, e)
	uses, err := s.store.GmailClientUses(ctx, "")
	if err != nil {
		return f, err
	}
	s.examineUses(&f, uses)
	return f, s.examineGrants(ctx, &f)
}

func (s *Service) examinePublic(ctx context.Context, f *findings, e Examination) {
	if s.public == "" {
		f.add(Bad, "FACTEUR_PUBLIC_URL is not set: nobody can come back from Google")
		return
	}
	f.add(Do, "register this redirect URI at Google, for every client (Google Cloud console, Google Auth Platform, Clients): %s", s.RedirectURI())
	f.add(Do, "declare these scopes there (Data Access): openid, email, %s; and for profiles with reconcile %s", ScopeSend, ScopeRead)
	f.add(Do, "set the consent screen (Audience) to \"In production\", or to \"Internal\" for one Workspace: in \"Testing\" every connection ends after 7 days")
	if !s.Secure() {
		grade := Warning
		if e.Production {
			grade = Bad
		}
		f.add(grade, "%s is on this machine only: browsers elsewhere will not come back from Google", s.public)
	}
	if e.Offline {
		return
	}
	if err := s.reach(ctx); err != nil {
		f.add(Warning, "%s is not reached from here: %v", s.public, err)
		return
	}
	f.add(Fine, "%s is this service", s.public)
}

// reach asks the public URL for its health.
func (s *Service) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.public+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var health struct {
		Status string `json:"status"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode != http.StatusOK || json.Unmarshal(b, &health) != nil || health.Status != "ok" {
		return fmt.Errorf("something else answers there, with status %d", resp.StatusCode)
	}
	return nil
}

func (s *Service) examineClients(ctx context.Context, f *findings, e Examination) {
	if len(s.clients) > 0 && !slices.ContainsFunc(s.clients, func(c Client) bool { return c.State == Current }) {
		f.add(Warning, "no OAuth client is current: a profile that names none cannot be connected")
	}
	for _, c := range s.clients {
		if e.Offline {
			f.add(Fine, "client %s is %s", c.Name, c.State)
			continue
		}
		switch err := s.probe(ctx, &c); {
		case err == nil:
			f.add(Fine, "client %s is %s, and Google knows its id and secret", c.Name, c.State)
		case err.grade == deadClient:
			f.add(Bad, "client %s: Google does not take its client_id and client_secret (%s)", c.Name, err.code)
		default:
			f.add(Warning, "client %s is %s; Google could not be asked about it: %v", c.Name, c.State, err)
		}
	}
}

// probe learns whether Google takes a client: it names the client's fault before that of a refresh token which is none.
func (s *Service) probe(ctx context.Context, c *Client) *tokenError {
	_, err := s.refresh(ctx, c, "none")
	var refused *tokenError
	if errors.As(err, &refused) && refused.grade != deadGrant {
		return refused
	}
	return nil
}

func (s *Service) examineUses(f *findings, uses []store.GmailClientUse) {
	for _, u := range uses {
		i := slices.IndexFunc(s.clients, func(c Client) bool { return c.Name == u.Client })
		who := fmt.Sprintf("%d profiles of %d firms are connected through client %s", u.Connected, u.Tenants, u.Client)
		switch {
		case i < 0 && u.Connected > 0:
			f.add(Bad, "%s, which is not configured: their mail waits. Put it back, at least as retired, until they are connected again", who)
		case i >= 0 && s.clients[i].State == Retired && u.Connected > 0:
			f.add(Warning, "%s, which is retired: each has to be connected again. GET /v1/gmail-client-report/profiles?client=%s lists them", who, u.Client)
		case u.Connected > 0:
			f.add(Fine, "%s", who)
		}
		if u.NeedReauthorization > 0 {
			f.add(Warning, "%d profiles were connected through client %s and need a new consent", u.NeedReauthorization, u.Client)
		}
	}
}

// examineGrants looks for what only the grants show.
func (s *Service) examineGrants(ctx context.Context, f *findings) error {
	testing, weekly := map[string]int{}, map[string]int{}
	err := s.store.EachGrant(ctx, func(g *store.Grant) error {
		lived := g.Since.Sub(g.GrantedAt)
		const week, day = 7 * 24 * time.Hour, 24 * time.Hour
		switch {
		case g.State == store.GrantConnected && !g.RefreshExpiresAt.IsZero():
			testing[g.Client]++
		case g.State == store.GrantNeedsReauthorization && lived > week-day && lived < week+2*day:
			weekly[g.Client]++
		}
		if g.State != store.GrantConnected {
			return nil
		}
		p, err := s.store.Profile(ctx, g.TenantID, g.ProfileID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s.examineGrant(f, p, g)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range s.names() {
		if n := testing[name]; n > 0 {
			f.add(Bad, "client %s: Google ends %d connections by itself, as it does while the consent screen is in \"Testing\" (7 days). Publish it, then connect these profiles again", name, n)
		} else if n := weekly[name]; n > 0 {
			f.add(Warning, "client %s: %d connections ended about 7 days after the consent, as they do while the consent screen is in \"Testing\". Look there", name, n)
		}
	}
	return nil
}

func (s *Service) names() []string {
	names := make([]string, len(s.clients))
	for i, c := range s.clients {
		names[i] = c.Name
	}
	return names
}

func (s *Service) examineGrant(f *findings, p *mail.Profile, g *store.Grant) {
	var missing []string
	for _, scope := range neededScopes(p) {
		if !slices.Contains(g.Scopes, scope) {
			missing = append(missing, scope)
		}
	}
	if len(missing) > 0 {
		f.add(Warning, "profile %s of %s lacks the scope %s: connect it again", p.ID, p.TenantID, strings.Join(missing, ", "))
	}
	if !p.MayConnect(g.Address) {
		f.add(Warning, "profile %s of %s sends from %s and is connected to another account: its mail waits", p.ID, p.TenantID, p.From.Address)
	}
}
