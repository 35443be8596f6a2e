// Nothing that would ask another host: no fonts, no telemetry, no assistant, no registry.
globalThis.Scalar.createApiReference('#reference', {
  url: '/openapi.json',
  withDefaultFonts: false,
  telemetry: false,
  showDeveloperTools: 'never',
  hideClientButton: true,
  hideModels: true,
  agent: { disabled: true },
  mcp: { disabled: true },
});
