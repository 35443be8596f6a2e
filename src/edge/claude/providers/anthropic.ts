import { CLAUDE_API } from '../../config/settings.ts';
import { baseUrl, stripVersion } from './fields.ts';
import { defineProvider, parseApiKey } from './provider.ts';

/** The Claude API, or any gateway with the same protocol. */
export const anthropicProvider = defineProvider({
  fields: { base_url: baseUrl },
  createAdapter: ({ base_url }, secret) => {
    const base = stripVersion(base_url ?? CLAUDE_API);
    const credential = { 'x-api-key': parseApiKey(secret) };
    return {
      isClaudeApi: base === CLAUDE_API,
      buildUrl: ({ path }) => base + path,
      createAuthorizationHeaders: () => credential,
    };
  },
});
