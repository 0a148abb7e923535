// Swagger UI for this server's OpenAPI document. URLs are relative, so they work under any path prefix.

globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // disables the online validator
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const setScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches); // Swagger UI's class
dark.addEventListener("change", setScheme);
setScheme();
