// Swagger UI on this server's OpenAPI document. Addresses are relative, so that they work under any path prefix.

globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // a service on another host
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
