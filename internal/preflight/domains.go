package preflight

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Resolver asks the DNS; *net.Resolver is one. A name or record that does not exist is a *net.DNSError with IsNotFound; any other error
// means that nobody knows.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupHost(ctx context.Context, name string) ([]string, error)
}

// route is what the DNS says about mail for a domain.
type route int

const (
	routeUnknown route = iota // it could not be asked
	routeMX                   // it has a mail server
	routeHost                 // it has none and takes mail itself (RFC 5321 section 5.1)
	routeNone                 // there is nothing to send to
	routeNull                 // it says that it takes no mail (RFC 7505)
)

// ask finds the route of a domain, given as A-labels.
func ask(ctx context.Context, r Resolver, domain string) route {
	name := domain + "." // whole: never looked for below the machine's own domain
	mx, err := r.LookupMX(ctx, name)
	switch {
	case len(mx) == 1 && mx[0].Host == ".":
		return routeNull
	case len(mx) > 0:
		return routeMX
	case err != nil && !isNotFound(err):
		return routeUnknown
	}
	hosts, err := r.LookupHost(ctx, name)
	switch {
	case len(hosts) > 0:
		return routeHost
	case err != nil && !isNotFound(err):
		return routeUnknown
	}
	return routeNone
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// verdictOn says what is to be said of a domain; an empty code: nothing. A domain with a mail server of its own is never taken for
// a slip of the keyboard, however near it is to a big one: lots of firms have such names.
func verdictOn(r route, suggestion string) (code string, severity Severity) {
	near := suggestion != ""
	switch {
	case r == routeMX:
	case near && (r == routeNone || r == routeNull):
		return CodeDomainTypo, Blocking
	case near: // a parked name often has an address; and nobody knows when the DNS does not answer
		return CodeDomainTypo, Warning
	case r == routeNone:
		return CodeDomainWithoutMail, Blocking
	case r == routeNull:
		return CodeDomainRefusesMail, Blocking
	}
	return "", ""
}

// providers are the mailbox providers that most private clients here have, by their domains.
var providers = []string{
	"gmail.com", "googlemail.com", "hotmail.com", "hotmail.be", "hotmail.fr", "hotmail.nl", "hotmail.de", "hotmail.co.uk",
	"outlook.com", "outlook.be", "outlook.fr", "outlook.de", "live.com", "live.be", "live.fr", "live.nl", "msn.com", "icloud.com",
	"yahoo.com", "yahoo.fr", "yahoo.de", "yahoo.co.uk", "proton.me", "protonmail.com", "gmx.de", "gmx.net", "web.de", "t-online.de",
	"skynet.be", "proximus.be", "telenet.be", "scarlet.be", "voo.be", "belgacom.net", "base.be", "orange.fr", "wanadoo.fr", "free.fr",
	"laposte.net", "sfr.fr", "ziggo.nl", "kpnmail.nl", "planet.nl", "home.nl", "xs4all.nl",
}

var isProvider = func() map[string]bool {
	m := make(map[string]bool, len(providers))
	for _, p := range providers {
		m[p] = true
	}
	return m
}()

// leastName is the shortest name before the dot that is long enough for a slip to be told from another firm's name.
const leastName = 5

// meant gives the provider that a domain is one slip away from: a letter too many, too few, wrong, or two the wrong way round.
// It is "" when there is none.
func meant(domain string) string {
	if isProvider[domain] {
		return ""
	}
	for _, p := range providers {
		name, _, _ := strings.Cut(p, ".")
		if len(name) >= leastName && oneSlip(domain, p) {
			return p
		}
	}
	return ""
}

// oneSlip says whether the Damerau-Levenshtein distance of two different words is 1.
func oneSlip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 1:
		return a[i:] == b[i+1:]
	case 0:
		return i < len(a) && (a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:])
	}
	return false
}

const (
	lookups      = 16 // at a time
	lookupLimit  = 4 * time.Second
	lookupBudget = 10 * time.Second
)

// domains asks for each domain once.
type domains struct {
	resolver Resolver
	budget   time.Duration
	deadline time.Time     // set by the first look-up
	slots    chan struct{} // of the look-ups under way
	waiting  sync.WaitGroup

	mu      sync.Mutex
	routes  map[string]route
	unknown []string // in the order that they were met
}

func newDomains(r Resolver, budget time.Duration) *domains {
	if budget <= 0 {
		budget = lookupBudget
	}
	return &domains{resolver: r, budget: budget, slots: make(chan struct{}, lookups), routes: map[string]route{}}
}

func domainOf(form string) string {
	return strings.ToLower(form[strings.LastIndexByte(form, '@')+1:])
}

// begin starts to look up the domains that are new.
func (d *domains) begin(ctx context.Context, messages []Message) {
	if d.resolver == nil {
		return
	}
	if d.deadline.IsZero() {
		d.deadline = time.Now().Add(d.budget)
	}
	for _, to := range recipients(messages, mail.KindTo, mail.KindCC, mail.KindBCC) {
		domain := domainOf(to.form)
		d.mu.Lock()
		_, known := d.routes[domain]
		if !known {
			d.routes[domain] = routeUnknown
		}
		d.mu.Unlock()
		if !known {
			d.waiting.Go(func() { d.lookUp(ctx, domain) })
		}
	}
}

func (d *domains) lookUp(ctx context.Context, domain string) {
	ctx, cancel := context.WithDeadline(ctx, d.deadline)
	defer cancel()
	r := routeUnknown
	select {
	case d.slots <- struct{}{}:
		one, stop := context.WithTimeout(ctx, lookupLimit)
		r = ask(one, d.resolver, domain)
		stop()
		<-d.slots
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.routes[domain] = r; r == routeUnknown {
		d.unknown = append(d.unknown, domain)
	}
}

// checkDomains waits for the look-ups and says what is wrong with the recipients' domains.
func (c *Check) checkDomains(ctx context.Context, messages []Message) error {
	d := c.domains
	d.waiting.Wait() // bounded by their deadline
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, to := range recipients(messages, mail.KindTo, mail.KindCC, mail.KindBCC) {
		domain := domainOf(to.form)
		suggestion := meant(domain)
		code, severity := verdictOn(d.routes[domain], suggestion)
		switch code {
		case "":
		case CodeDomainTypo:
			at := strings.LastIndexByte(to.shown, '@')
			c.problems.add(to.message, severity, to.pointer, code, "address", mail.Shown(to.shown), "suggestion", mail.Shown(to.shown[:at+1]+suggestion))
		default:
			c.problems.add(to.message, severity, to.pointer, code, "address", mail.Shown(to.shown), "domain", domain)
		}
	}
	return nil
}

// uncheckedDomains says once how many there are: the DNS that does not answer is no fault of an address.
func (c *Check) uncheckedDomains() {
	if n := len(c.domains.unknown); n > 0 {
		c.problems.add(nil, Info, "", CodeDomainsUnchecked, "count", itoa(n), "domain", c.domains.unknown[0])
	}
}
