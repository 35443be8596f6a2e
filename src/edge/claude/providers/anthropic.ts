import { CLAUDE_API } from '../../config/settings.ts';
import { baseUrl, withoutVersion } from './fields.ts';
import { defineKind, readApiKey } from './kind.ts';

/** The Claude API, or any gateway with the same protocol. */
export const anthropicKind = defineKind({
  fields: { base_url: baseUrl },
  open: ({ base_url }, secret) => {
    const base = withoutVersion(base_url ?? CLAUDE_API);
    const credential = { 'x-api-key': readApiKey(secret) };
    return { isClaudeApi: base === CLAUDE_API, address: ({ path }) => base + path, authorize: () => credential };
  },
});
