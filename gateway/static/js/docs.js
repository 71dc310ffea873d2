// The page at /docs: Swagger UI on our own document. In a file, for the page's policy allows no script within the page.

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null, // else it would send the document's address to validator.swagger.io
});
