// Package server is the HTTP API: it reads requests strictly, asks the store or the outbox, and writes answers of package api.
//
// The way of a request: access log and request id (server.go), key and scope (auth.go), strict JSON that finds every
// problem at once (decode.go, json.go), a handler of the resource's own file, and problem.go for everything that goes wrong.
// A handler returns an error instead of writing one; what nobody expected is a 500 that tells the caller nothing but the
// request's id.
//
// It is the only package that knows gin. It decides nothing about mail: what may be sent is the business of package mail,
// and what is stored and when that of packages outbox and store.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/preflight"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/server/docs"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	sendgrid "github.com/winprest/facteur/internal/transport/sendgrid/events"
	"github.com/winprest/facteur/internal/watch"
)

// Config is what the API needs. Store and Outbox are required.
type Config struct {
	Store      *store.Store
	Outbox     *outbox.Outbox
	Transports transport.Registry // the ways a profile may name
	Consent    *consent.Service   // nil: no profile can be connected to Gmail
	Senders    *senders.Service   // nil: no sender can be verified
	// CheckBounces proves that a profile's bounce mailbox can be read: it gives nil then. nil: nothing reads them.
	CheckBounces func(context.Context, *mail.Profile) *mail.ProfileTrouble
	// SendGridKeys prove that events are SendGrid's; none: none are taken.
	SendGridKeys sendgrid.Keys
	Logger       *slog.Logger // nil: slog.Default()
	Limits       Limits
	// Resolver looks up the recipients' domains when a batch is checked; nil: they are not looked up.
	Resolver preflight.Resolver
	// Production adds Strict-Transport-Security: the service is reached over TLS.
	Production bool
	// PlainWebhooks permits webhook endpoints with http, for networks that the operator allows.
	PlainWebhooks bool
}

// Limits bound what one caller can make the service hold. Zero values have the defaults.
type Limits struct {
	// SendBody is the largest JSON body of a message or a send job, in bytes: 24 MiB.
	SendBody int64
	// Body is the largest JSON body of everything else, in bytes: 8 MiB.
	Body int64
	// Attachment is the largest file, in bytes: 25 MiB.
	Attachment int64
	// Buffered is the most bytes of JSON bodies that are held at once; above it a request is answered with 429: 256 MiB.
	Buffered int64
	// Watchers is how many calls of a tenant may wait for news of its send jobs at once; above it they get 429: 1,000.
	Watchers int
}

func (l Limits) withDefaults() Limits {
	def := func(n *int64, value int64) {
		if *n == 0 {
			*n = value
		}
	}
	def(&l.SendBody, 24<<20)
	def(&l.Body, 8<<20)
	def(&l.Attachment, 25<<20)
	def(&l.Buffered, 256<<20)
	if l.Watchers == 0 {
		l.Watchers = 1000
	}
	return l
}

// Server is the handler and what its requests share.
type Server struct {
	store      *store.Store
	outbox     *outbox.Outbox
	transports transport.Registry
	consent    *consent.Service
	senders    *senders.Service
	bounces    func(context.Context, *mail.Profile) *mail.ProfileTrouble
	log        *slog.Logger
	limits     Limits
	production bool
	plainHooks bool

	resolver      preflight.Resolver
	sendGridKeys  sendgrid.Keys
	eventRequests atomic.Int64 // requests of event webhooks at this moment
	buffered      atomic.Int64 // bytes of JSON bodies held at this moment
	keys          inFlight
	profiles      fresh[profileKey, *mail.Profile]
	templates     fresh[templateKey, *mail.Template]
	jobs          *watch.Hub[*shownJob]
	heartbeat     time.Duration // of a stream of events, and
	patience      time.Duration // with its reader
	engine        *gin.Engine
}

// New makes the handler of the whole API.
func New(cfg Config) *Server {
	s := &Server{
		store: cfg.Store, outbox: cfg.Outbox, transports: cfg.Transports, consent: cfg.Consent, senders: cfg.Senders, bounces: cfg.CheckBounces, log: cfg.Logger, limits: cfg.Limits.withDefaults(),
		production: cfg.Production, plainHooks: cfg.PlainWebhooks, heartbeat: heartbeat, patience: readerPatience, sendGridKeys: cfg.SendGridKeys,
		resolver: cfg.Resolver,
	}
	s.jobs = watch.New(s.readJob, s.limits.Watchers)
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.consent == nil {
		s.consent, _ = consent.New(consent.Config{Store: cfg.Store, Logger: s.log}) // without clients nothing can be wrong
	}
	if s.senders == nil {
		s.senders = senders.New(senders.Config{Store: cfg.Store, Logger: s.log})
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.UseRawPath = true // an escaped slash is not a slash: a proxy's rules hold
	e.Use(s.around)
	e.NoRoute(func(c *gin.Context) { s.fail(c, refuse(http.StatusNotFound, codeNotFound)) })
	e.NoMethod(func(c *gin.Context) { s.fail(c, refuse(http.StatusMethodNotAllowed, codeMethodNotAllowed)) })
	for _, r := range s.routes() {
		e.Handle(r.method, r.path, s.handle(r))
		if r.method == http.MethodGet {
			e.Handle(http.MethodHead, r.path, s.handle(r)) // RFC 9110 section 9.1; monitors ask so
		}
	}
	docs.Register(e)
	s.engine = e
	return s
}

// Stop answers the calls that wait for news of a send job and ends the streams, so that http.Server.Shutdown need not wait for them:
// give it to RegisterOnShutdown. Their callers go on at another process. Everything else is answered as before.
func (s *Server) Stop() { s.jobs.Stop() }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

// route is one operation: what it takes to be allowed, and who does it.
type route struct {
	method, path string
	scope        store.Scope // empty: anybody
	handler      func(*gin.Context) error
}

// routes is the whole API in one place.
func (s *Server) routes() []route {
	const (
		public   = store.Scope("")
		send     = store.ScopeSend
		read     = store.ScopeRead
		manage   = store.ScopeManage
		operator = store.ScopeOperator

		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	)
	return []route{
		{get, "/healthz", public, s.healthz},
		{get, "/readyz", public, s.readyz},

		{post, "/v1/sender-profiles", manage, s.createProfile},
		{get, "/v1/sender-profiles", read, s.listProfiles},
		{get, "/v1/sender-profiles/:id", read, s.getProfile},
		{patch, "/v1/sender-profiles/:id", manage, s.patchProfile},
		{del, "/v1/sender-profiles/:id", manage, s.deleteProfile},
		{get, "/v1/sender-profiles/:id/health", read, s.getProfileHealth},
		{post, "/v1/sender-profiles/:id/check", manage, s.checkProfile},
		{post, "/v1/sender-profiles/:id/test-message", send, s.sendTestMessage},
		{post, "/v1/sender-profiles/:id/authorization", manage, s.beginAuthorization},
		{get, "/v1/sender-profiles/:id/authorization", read, s.getAuthorization},
		{del, "/v1/sender-profiles/:id/authorization", manage, s.revokeAuthorization},
		{post, "/v1/sender-profiles/:id/sender-verification", manage, s.beginSenderVerification},
		{get, "/v1/sender-profiles/:id/sender-verification", read, s.getSenderVerification},

		{get, "/v1/gmail-clients", read, s.listGmailClients},
		{put, "/v1/gmail-clients/:name", manage, s.putGmailClient},
		{del, "/v1/gmail-clients/:name", manage, s.deleteGmailClient},
		{get, "/v1/gmail-client-report", operator, s.reportGmailClients},
		{get, "/v1/gmail-client-report/profiles", operator, s.listGmailClientProfiles},

		{get, consent.StartPath, public, s.consentStart},
		{post, consent.StartPath, public, s.consentLeave},
		{get, consent.CallbackPath, public, s.consentCallback},

		{post, "/v1/templates", manage, s.createTemplate},
		{get, "/v1/templates", read, s.listTemplates},
		{get, "/v1/templates/:id", read, s.getTemplate},
		{patch, "/v1/templates/:id", manage, s.patchTemplate},
		{del, "/v1/templates/:id", manage, s.deleteTemplate},
		{put, "/v1/templates/:id/translations/:language", manage, s.putTranslation},
		{del, "/v1/templates/:id/translations/:language", manage, s.deleteTranslation},
		{post, "/v1/templates/:id/preview", read, s.previewTemplate},
		{get, "/v1/template-tokens", read, s.listTemplateTokens},

		{post, "/v1/attachments", send, s.uploadAttachment},
		{get, "/v1/attachments/:id", read, s.getAttachment},
		{get, "/v1/attachments/:id/content", read, s.getAttachmentContent},

		{post, "/v1/messages", send, s.sendMessage},
		{get, "/v1/messages", read, s.listMessages},
		{get, "/v1/messages/:id", read, s.getMessage},
		{get, "/v1/messages/:id/attempts", read, s.listAttempts},
		{get, "/v1/messages/:id/raw", read, s.getRawMessage},
		{get, "/v1/messages/:id/proof", read, s.getProof},
		{del, "/v1/messages/:id/content", manage, s.eraseContent},
		{post, "/v1/messages/:id/retry", send, s.retryMessage},
		{post, "/v1/messages/:id/cancel", send, s.cancelMessage},
		{post, "/v1/messages/:id/resolve", send, s.resolveMessage},

		{post, "/v1/send-jobs", send, s.createSendJob},
		{post, "/v1/send-jobs/check", send, s.checkSendJob},
		{post, "/v1/send-jobs/:id/check", send, s.checkDraft},
		{get, "/v1/send-jobs", read, s.listSendJobs},
		{get, "/v1/send-jobs/:id", read, s.getSendJob},
		{get, "/v1/send-jobs/:id/events", read, s.watchSendJob},
		{get, "/v1/send-jobs/:id/report", read, s.reportSendJob},
		{get, "/v1/send-jobs/:id/messages", read, s.listSendJobMessages},
		{post, "/v1/send-jobs/:id/messages", send, s.appendDraftMessages},
		{get, "/v1/send-jobs/:id/messages/:message", read, s.getDraftMessage},
		{put, "/v1/send-jobs/:id/messages/:message", send, s.putDraftMessage},
		{del, "/v1/send-jobs/:id/messages/:message", send, s.deleteDraftMessage},
		{post, "/v1/send-jobs/:id/release", send, s.releaseSendJob},
		{post, "/v1/send-jobs/:id/pause", send, s.pauseSendJob},
		{post, "/v1/send-jobs/:id/resume", send, s.resumeSendJob},
		{post, "/v1/send-jobs/:id/retry-failed", send, s.retryFailedMessages},
		{post, "/v1/send-jobs/:id/cancel", send, s.cancelSendJob},
		{post, "/v1/send-jobs/:id/resolve", send, s.resolveSendJob},

		{post, "/v1/webhook-endpoints", manage, s.createWebhookEndpoint},
		{get, "/v1/webhook-endpoints", read, s.listWebhookEndpoints},
		{get, "/v1/webhook-endpoints/:id", read, s.getWebhookEndpoint},
		{patch, "/v1/webhook-endpoints/:id", manage, s.patchWebhookEndpoint},
		{del, "/v1/webhook-endpoints/:id", manage, s.deleteWebhookEndpoint},
		{post, "/v1/webhook-endpoints/:id/rotate-secret", manage, s.rotateWebhookSecret},
		{post, "/v1/webhook-endpoints/:id/test", manage, s.testWebhookEndpoint},
		{get, "/v1/webhook-endpoints/:id/deliveries", read, s.listWebhookDeliveries},
		{post, "/v1/webhook-endpoints/:id/deliveries/:delivery/replay", manage, s.replayWebhookDelivery},
		{post, "/v1/webhook-endpoints/:id/replay-failed", manage, s.replayFailedWebhooks},

		{get, "/v1/notice-settings", read, s.getNoticeSettings},
		{put, "/v1/notice-settings", manage, s.putNoticeSettings},
		{del, "/v1/notice-settings", manage, s.deleteNoticeSettings},
		{post, "/v1/suppressions", manage, s.createSuppression},
		{get, "/v1/suppressions", read, s.listSuppressions},
		{del, "/v1/suppressions/:id", manage, s.deleteSuppression},

		{post, "/webhooks/sendgrid", public, s.takeSendGridEvents},

		{get, "/v1/audit-events", read, s.listAuditEvents},
		{get, "/v1/add-ons", read, s.listAddOns},
		{get, "/v1/usage", read, s.getUsage},

		{post, "/v1/tenants", operator, s.createTenant},
		{get, "/v1/tenants", operator, s.listTenants},
		{get, "/v1/tenants/:id", operator, s.getTenant},
		{post, "/v1/tenants/:id/api-keys", operator, s.createAPIKey},
		{get, "/v1/tenants/:id/api-keys", operator, s.listAPIKeys},
		{del, "/v1/tenants/:id/api-keys/:key", operator, s.revokeAPIKey},
		{get, "/v1/tenants/:id/add-ons", operator, s.listTenantAddOns},
		{get, "/v1/tenants/:id/add-ons/:name", operator, s.getTenantAddOn},
		{put, "/v1/tenants/:id/add-ons/:name", operator, s.putTenantAddOn},
		{del, "/v1/tenants/:id/add-ons/:name", operator, s.deleteTenantAddOn},
		{get, "/v1/tenants/:id/sender-identities", operator, s.listSenderIdentities},
		{put, "/v1/tenants/:id/sender-identities/:identity", operator, s.putSenderIdentity},
		{del, "/v1/tenants/:id/sender-identities/:identity", operator, s.deleteSenderIdentity},
		{get, "/v1/usage-report", operator, s.getUsageReport},
	}
}

func (s *Server) handle(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		if r.scope != "" {
			if err := s.authenticate(c, r.scope); err != nil {
				s.fail(c, err)
				return
			}
		}
		body := c.Request.Body
		if err := r.handler(c); err != nil {
			if r.scope != "" {
				drain(c, body, err)
			}
			s.fail(c, err)
		}
	}
}

const requestIDKey = "facteur.request_id"

func requestID(c *gin.Context) string { return c.GetString(requestIDKey) }

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// around gives a request its id and its common headers, catches panics and writes the access log: who asked for what and how
// it ended, without bodies, queries or keys.
func (s *Server) around(c *gin.Context) {
	start := time.Now()
	id := c.GetHeader("X-Request-Id")
	if !goodRequestID.MatchString(id) {
		var b [8]byte
		rand.Read(b[:]) //nolint:errcheck // never fails
		id = "req_" + hex.EncodeToString(b[:])
	}
	c.Set(requestIDKey, id)
	h := c.Writer.Header()
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if s.production {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(c, p)
		}
		attrs := []slog.Attr{
			slog.String("method", c.Request.Method), slog.String("route", c.FullPath()), slog.Int("status", c.Writer.Status()),
			slog.Int("bytes", max(c.Writer.Size(), 0)), slog.Duration("took", time.Since(start)), slog.String("request_id", id),
		}
		if key := apiKey(c); key != nil {
			attrs = append(attrs, slog.String("tenant", key.TenantID), slog.String("key", key.ID))
		}
		s.log.LogAttrs(c.Request.Context(), slog.LevelInfo, "request", attrs...)
	}()
	c.Next()
}

// panicked answers a request that a mistake of ours ended. When the answer had begun, the connection is cut, so that nobody
// takes half an answer for a whole one.
func (s *Server) panicked(c *gin.Context, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
		panic(p)
	}
	s.log.Error("panic", slog.String("request_id", requestID(c)), slog.String("route", c.FullPath()),
		slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	if c.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	s.fail(c, refuse(http.StatusInternalServerError, codeInternalError))
}
