import { baseUrl, withoutVersion } from './fields.ts';
import { defineKind, readApiKey } from './kind.ts';

/** The Claude API, or any gateway with the same protocol. */
export const anthropicKind = defineKind({
  fields: { base_url: baseUrl },
  open: ({ base_url }, secret) => {
    const base = withoutVersion(base_url ?? 'https://api.anthropic.com');
    const credential = { 'x-api-key': readApiKey(secret) };
    return { address: ({ path }) => base + path, authorize: () => credential };
  },
});
