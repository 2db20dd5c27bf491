package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
)

// healthz says that the process answers.
//
//	@Summary	Is the process alive?
//	@ID			getHealth
//	@Tags		health
//	@Produce	json
//	@Success	200	{object}	api.Health
//	@Router		/healthz [get]
func (s *Server) healthz(c *gin.Context) error {
	return reply(c, http.StatusOK, api.Health{Status: "ok"})
}

const readyTimeout = 5 * time.Second

// readyz says whether requests can be served.
//
//	@Summary	Can it do its work?
//	@ID			getReadiness
//	@Tags		health
//	@Produce	json
//	@Success	200	{object}	api.Readiness
//	@Failure	503	{object}	api.Readiness	"The database is out of reach or has not the schema of this version."
//	@Router		/readyz [get]
func (s *Server) readyz(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
	defer cancel()
	r := api.Readiness{Status: "ready", Database: "ok"}
	pending, err := false, s.store.Ping(ctx)
	if err == nil {
		pending, err = s.store.MigrationsPending(ctx)
	}
	switch {
	case err != nil:
		s.log.Warn("not ready", slog.Any("error", err))
		r = api.Readiness{Status: "not_ready", Database: "unreachable"}
	case pending:
		r = api.Readiness{Status: "not_ready", Database: "not_migrated"}
	}
	status := http.StatusOK
	if r.Status != "ready" {
		status = http.StatusServiceUnavailable
	}
	return reply(c, status, r)
}
