"use strict";

// Deferred: runs after the bundle, when the page is parsed. Addresses are relative to /docs, so that the page also works
// behind a proxy that serves the API under a prefix.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null, // the default asks a server on the Internet
});
