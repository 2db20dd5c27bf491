package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/store"
)

// commandLine is who did what is done here.
const commandLine = "command line"

type addOnOnCmd struct {
	Tenant  string    `arg:"" help:"The tenant's id (tnt_...)."`
	From    time.Time `help:"When it is on, such as 2026-12-01T00:00:00Z; now, when it is left out."`
	Until   time.Time `help:"When it is off again; left out: until it is switched off."`
	Key     string    `help:"Name of the service's SendGrid key; left out: the default one."`
	Subuser string    `help:"The tenant's subuser at SendGrid."`
}

func (c addOnOnCmd) Run(a *app) error {
	begins := c.From
	if begins.IsZero() {
		begins = time.Now()
	}
	if !c.Until.IsZero() && !c.Until.After(begins) {
		return errors.New("--until must be later than --from, and than now without one")
	}
	if strings.ContainsFunc(c.Key+c.Subuser, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("--key and --subuser have no spaces and no accents")
	}
	return a.withStore(func(st *store.Store) error {
		if err := a.knownTenant(st, c.Tenant); err != nil {
			return err
		}
		detail, err := json.Marshal(map[string]string{"key": c.Key, "subuser": c.Subuser, "from": day(c.From), "until": day(c.Until)})
		if err != nil {
			return err
		}
		on := &store.AddOn{TenantID: c.Tenant, Name: store.AddOnSendGrid, From: c.From, Until: c.Until, Key: c.Key, Subuser: c.Subuser}
		event := &store.AuditEvent{TenantID: c.Tenant, Actor: commandLine, Action: "add_on.put", Subject: store.AddOnSendGrid, Detail: detail}
		if _, err := st.PutAddOn(a.ctx, on, event); err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s: on from %s until %s.\n", on.Name, day(on.From), day(on.Until))
		return nil
	})
}

type addOnOffCmd struct {
	Tenant string `arg:"" help:"The tenant's id (tnt_...)."`
}

func (c addOnOffCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		if err := a.knownTenant(st, c.Tenant); err != nil {
			return err
		}
		event := &store.AuditEvent{TenantID: c.Tenant, Actor: commandLine, Action: "add_on.end", Subject: store.AddOnSendGrid}
		err := st.EndAddOn(a.ctx, c.Tenant, store.AddOnSendGrid, event)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("the tenant %s never had it", c.Tenant)
		}
		if err == nil {
			fmt.Fprintf(a.stdout, "%s: off.\n", store.AddOnSendGrid)
		}
		return err
	})
}

type addOnListCmd struct {
	Tenant string `arg:"" help:"The tenant's id (tnt_...)."`
}

func (c addOnListCmd) Run(a *app) error {
	return a.withStore(func(st *store.Store) error {
		if err := a.knownTenant(st, c.Tenant); err != nil {
			return err
		}
		list, err := st.AddOns(a.ctx, c.Tenant)
		if err != nil {
			return err
		}
		w := columns(a.stdout, "NAME", "ACTIVE", "FROM", "UNTIL", "KEY", "SUBUSER")
		for _, on := range list {
			fmt.Fprintf(w, "%s\t%t\t%s\t%s\t%s\t%s\n", on.Name, on.Active, day(on.From), day(on.Until), on.Key, on.Subuser)
		}
		return w.Flush()
	})
}
